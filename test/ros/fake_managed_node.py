"""kyvo_managed_node with the fake pipeline, as a program."""

from __future__ import annotations

import sys

from fake_pipeline import fake_factory

from kyvo_ros.ros.managed_node import main

if __name__ == "__main__":
    sys.exit(main(factory=fake_factory))

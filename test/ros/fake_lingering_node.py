"""kyvo_managed_node with a fake pipeline whose memory takes its time to be given back, as a program."""

from __future__ import annotations

import sys
import time

from fake_pipeline import FakePipeline

from kyvo_ros.ros.managed_node import main

LINGERS_S = 4.0
LETS_GO = "lets its memory go"


class LingeringPipeline(FakePipeline):
    def __del__(self) -> None:
        print(LETS_GO, flush=True)
        time.sleep(LINGERS_S)


if __name__ == "__main__":
    sys.exit(main(factory=lambda settings: LingeringPipeline()))

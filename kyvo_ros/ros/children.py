"""Child processes of the demo, the benchmarks and the tests: started in a group of their own, always reaped.

Knows no ROS. A process of ROS 2 may hang at its end, so every wait has a limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType


class Child:
    """A running command; use it as a context manager. `module_root` goes first on its PYTHONPATH."""

    def __init__(self, command: Sequence[str], log: Path | None = None,
                 environment: Mapping[str, str] | None = None) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        self._log = open(log, "wb") if log else None
        self.process = subprocess.Popen(
            list(command), env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdout=self._log, stderr=subprocess.STDOUT if self._log else None, start_new_session=True)

    def running(self) -> bool:
        return self.process.poll() is None

    def end(self, timeout_s: float = 15.0) -> int:
        """Ask with SIGINT, then insist; the exit status (negative: the signal that ended it)."""
        if self.running():
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # also what it left behind
        except ProcessLookupError:
            pass
        status = self.process.wait()
        if self._log:
            self._log.close()
        return status

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

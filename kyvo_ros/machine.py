"""What this process may use of the machine that it runs on."""

from __future__ import annotations

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores(quota: Path = QUOTA) -> int:
    """Processor cores that this process may use, at least 1: as its affinity and its container's quota say.

    `quota` is control group v2's file, "MICROSECONDS PERIOD" or "max PERIOD"; without such a file there is no quota.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        granted, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, round(int(granted) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return max(1, allowed)

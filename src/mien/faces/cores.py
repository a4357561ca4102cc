"""The processors that this process may use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def cores() -> int:
    """Return the number of processors that this process may use: taskset, cpusets and a container's quota count."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = _quota()
    return allowed if quota >= allowed else max(1, math.ceil(quota))


def _quota() -> float:
    """Return the processors' worth of time that the control groups grant, or infinity."""
    own = PurePosixPath("/")
    with suppress(OSError):
        for line in OWN_CGROUP.read_text("utf-8").splitlines():
            if line.startswith("0::"):
                own = PurePosixPath(line.removeprefix("0::"))
    folders = [CGROUPS / str(folder).lstrip("/") for folder in (own, *own.parents)]
    quotas = [_ratio(folder / "cpu.max") for folder in folders]
    with suppress(OSError):  # the older kind of control groups
        parts = [(CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text("utf-8") for name in ("quota", "period")]
        quotas.append(_share(*parts))
    return min(quotas)


def _ratio(file: Path) -> float:
    try:
        return _share(*file.read_text("utf-8").split())
    except (OSError, TypeError):
        return math.inf


def _share(quota: str, period: str) -> float:
    try:
        share = int(quota) / int(period)  # "max" or -1: no limit
    except (ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf

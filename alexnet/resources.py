"""How much memory and how many cores this process may use, in a container, a batch job or alone.

A container sees the memory and the cores of its host; what it may use of them stands in its
control group (cgroup), and what a shell or a batch system allows, in resource limits and in the
processor affinity.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, or the lowest limit on them.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    limits = [psutil.virtual_memory().total, *_memory_rlimits()]
    for folder in _cgroup_folders("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):  # version 2, version 1
            limit = _read(folder / name)
            if limit.isdigit():  # "max" where there is none
                limits.append(int(limit))
    return min(limits)


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        limits.append(len(os.sched_getaffinity(0)))
    for folder in _cgroup_folders("cpu", root):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2: "200000 100000"
        if not quota:  # version 1
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # "max" or "-1": no limit
            limits.append(math.ceil(int(quota) / int(period)))
    return max(1, min(limits))


def _memory_rlimits() -> Iterator[int]:
    """What ``ulimit -v`` and ``ulimit -d`` allow."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _cgroup_folders(controller: str, root: Path) -> Iterator[Path]:
    """The folders that limit this process, from its own cgroup up to the one it can see last."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: one hierarchy for all
            top = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            top = root / "sys/fs/cgroup" / controllers
            top = top if top.is_dir() else root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path may be the host's, and only the top is there
        own = top / path.strip("/")
        while own != top and top in own.parents:
            yield own
            own = own.parent
        yield top


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""

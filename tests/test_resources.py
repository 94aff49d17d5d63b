"""Memory and cores: those of the container, the batch job and the shell, not those of the host."""

import os
import subprocess
import sys

import psutil
import pytest

from alexnet.resources import usable_cores, usable_memory

GIB = 2**30


def system(root, cgroup, **files):
    """A ``proc`` and a ``sys`` with these files; a folder's name ends in two underscores."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup, encoding="ascii")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


def test_without_cgroups(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(48), raising=False)
    assert usable_cores(tmp_path) == 48
    assert usable_memory(tmp_path) <= psutil.virtual_memory().total


VERSION_2 = {
    "job/step/memory.max": "max\n",
    "job/memory.max": f"{GIB}\n",
    "memory.max": f"{2 * GIB}\n",
    "job/step/cpu.max": "max 100000\n",
    "job/cpu.max": "150000 100000\n",
}
VERSION_1 = {
    "memory/job/memory.limit_in_bytes": f"{GIB}\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n",
    "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
    "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}
IN_A_CONTAINER = {  # the path is the host's
    "memory/memory.limit_in_bytes": f"{GIB}\n",
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize(
    "cgroup, files",
    [
        ("0::/job/step\n", VERSION_2),
        ("4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n", VERSION_1),
        ("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n", IN_A_CONTAINER),
        ("0::/\n", {"memory.max": f"{GIB}", "cpu.max": "150000 100000"}),
    ],
    ids=["version 2", "version 1", "container, version 1", "container, version 2"],
)
def test_the_lowest_limit_counts(cgroup, files, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    root = system(tmp_path, cgroup, **files)
    assert usable_memory(root) == GIB
    assert usable_cores(root) == 2


def test_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    root = system(tmp_path, "0::/\n", **{"memory.max": "max", "cpu.max": "max 100000"})
    assert usable_cores(root) == 3
    assert usable_memory(root) <= psutil.virtual_memory().total


def test_less_than_a_core_is_one(tmp_path):
    root = system(tmp_path, "0::/\n", **{"cpu.max": "10000 100000"})
    assert usable_cores(root) == 1


def test_ulimit(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")  # not on Windows
    monkeypatch.setattr(
        resource,
        "getrlimit",
        lambda kind: (GIB, GIB) if kind == resource.RLIMIT_AS else (resource.RLIM_INFINITY,) * 2,
    )
    assert usable_memory(tmp_path) == GIB


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_taskset():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from alexnet.resources import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"

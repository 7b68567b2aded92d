"""What a process may use of a machine, with control groups as Linux shows them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tlkit import machine

GIB = 2**30
AFFINITY = {0, 1, 2, 3, 4, 5, 6, 7}


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for control groups, on a machine with 64 GiB free and eight processors."""
    proc, mounted = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    mounted.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {64 * GIB // 1024} kB\n")
    monkeypatch.setattr(machine, "PROC", proc)
    monkeypatch.setattr(machine, "CGROUPS", mounted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: AFFINITY, raising=False)
    return mounted


def write(groups: Path, listed: str, **files: str) -> None:
    """Write what /proc/self/cgroup lists, and files, whose names have "__" for "/" and "--" for "."."""
    (groups.parent / "proc" / "self" / "cgroup").write_text(listed)
    for name, text in files.items():
        path = groups / name.replace("__", "/").replace("--", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_without_control_groups_the_machine_counts(groups: Path) -> None:
    assert (machine.free_memory(), machine.processors()) == (64 * GIB, 8)


def test_limits_of_version_2(groups: Path) -> None:
    files = {"memory--max": str(4 * GIB), "memory--current": str(GIB), "cpu--max": "300000 100000"}
    write(groups, "0::/\n", **files)
    assert (machine.free_memory(), machine.processors()) == (3 * GIB, 3)


def test_files_that_are_not_in_use_count_as_free(groups: Path) -> None:
    stat = f"anon 5\ninactive_file {GIB // 2}\nactive_file 7"
    write(groups, "0::/\n", **{"memory--max": str(4 * GIB), "memory--current": str(GIB), "memory--stat": stat})
    assert machine.free_memory() == 3 * GIB + GIB // 2


def test_group_without_limits_leaves_the_machines(groups: Path) -> None:
    write(groups, "0::/\n", **{"memory--max": "max", "memory--current": str(GIB), "cpu--max": "max 100000"})
    assert (machine.free_memory(), machine.processors()) == (64 * GIB, 8)


def test_least_of_nested_groups_counts(groups: Path) -> None:
    files = {
        "pod__memory--max": str(8 * GIB), "pod__memory--current": str(7 * GIB), "pod__cpu--max": "150000 100000",
        "pod__job__memory--max": str(16 * GIB), "pod__job__memory--current": str(GIB), "pod__job__cpu--max": "400000 100000",
    }  # fmt: skip
    write(groups, "0::/pod/job\n", **files)
    assert (machine.free_memory(), machine.processors()) == (GIB, 2)


def test_limits_of_version_1(groups: Path) -> None:
    files = {
        "memory__memory--limit_in_bytes": str(2**63 - 4096), "memory__memory--usage_in_bytes": str(50 * GIB),
        "memory__docker__memory--limit_in_bytes": str(2 * GIB), "memory__docker__memory--usage_in_bytes": str(GIB),
        "memory__docker__memory--stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}",
        "cpu,cpuacct__docker__cpu--cfs_quota_us": "50000", "cpu,cpuacct__docker__cpu--cfs_period_us": "100000",
        "cpu,cpuacct__cpu--cfs_quota_us": "-1", "cpu,cpuacct__cpu--cfs_period_us": "100000",
    }  # fmt: skip
    write(groups, "9:cpu,cpuacct:/docker\n4:memory:/docker\n1:name=systemd:/\n", **files)
    assert (machine.free_memory(), machine.processors()) == (GIB + GIB // 4, 1)


def test_group_that_is_listed_as_seen_from_outside(groups: Path) -> None:
    """Docker with version 1 mounts a container's own group, and lists it under its path on the host."""
    files = {"memory__memory--limit_in_bytes": str(2 * GIB), "memory__memory--usage_in_bytes": str(GIB)}
    write(groups, "4:memory:/docker/0123\n", **files)
    assert machine.free_memory() == GIB


def test_group_that_is_over_its_limit_has_nothing_free(groups: Path) -> None:
    write(groups, "0::/\n", **{"memory--max": str(GIB), "memory--current": str(GIB + 4096)})
    assert machine.free_memory() == 0


def test_damaged_files_are_passed_over(groups: Path) -> None:
    write(groups, "nonsense\n0::/\n", **{"memory--max": "", "memory--current": "x", "cpu--max": "a b c"})
    assert (machine.free_memory(), machine.processors()) == (64 * GIB, 8)


def test_the_time_that_threads_waited_is_the_sum_of_all_threads(groups: Path) -> None:
    for thread, text in {"7": "1000 2500000000 3", "8": "1000 500000000 3", "9": "gone"}.items():
        folder = groups.parent / "proc" / "self" / "task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert machine.waited() == 3.0


def test_a_machine_that_does_not_tell_has_not_waited(groups: Path) -> None:
    assert machine.waited() == 0.0


def test_threads_sleep_soon_but_what_the_user_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    machine.let_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == str(machine.SPIN_COUNT)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    machine.let_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    machine.let_threads_sleep()
    assert "GOMP_SPINCOUNT" not in os.environ


GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="only glibc has mallopt")
def test_blocks_of_memory_are_kept_while_training_and_then_given_back() -> None:
    """Alone, since what else was freed in this process would count."""
    program = """
import torch
from tlkit import machine
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
def use():
    parts = [torch.ones(4 << 20) for _ in range(16)]  # 16 MiB each
    del parts
before = resident()
with machine.kept_blocks:
    with machine.kept_blocks:
        use()
    kept = resident()
print(kept - before, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kept, after = map(int, done.stdout.split())
    assert kept > 200, "of 256 MiB"
    assert after < 50


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (ValueError("a list out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_ran_out_are_known(error: Exception, lacks: bool) -> None:
    assert machine.is_out_of_memory(error) == lacks

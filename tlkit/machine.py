"""The machine as this process may use it: the processor's name, how many processors, and how much memory. Imports no torch.

The rule: a container's limits count as much as the machine's, and the least of all counts.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tlkit.errors import TlkitError, UsageError, nearest, option

CGROUPS = Path("/sys/fs/cgroup")  # where control groups are mounted: cgroups(7)
PROC = Path("/proc")
# How often a thread of libgomp, which torch's operators use, asks for work before it sleeps. libgomp itself asks for milliseconds, and
# takes the processor from whoever has work; benchmarks/README.md, "Busy machines", has what other values cost.
SPIN_COUNT = 1000
# With one of these values cuBLAS gives the same bits every time: "Results reproducibility" in its documentation.
CUBLAS, CUBLAS_REPEATS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
# What torch, cuDNN, cuBLAS and CUDA say; cudnnStatus_t and cublasStatus_t in their documentation name the codes.
_NO_MEMORY = re.compile("out of memory|can't allocate memory|ALLOC_FAILED|ALLOCATION_FAILED")
# malloc.h, and what glibc's malloc.c has by itself: blocks from mmap at most, and the largest that it makes its threshold
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_MMAP_MAX, _MMAP_THRESHOLD = 65536, 32 << 20
# Containers, such as lists, that are made between two looks of Python's garbage collector, which has 700. Importing torch makes 500,000 that stay;
# a run leaves some 100 an epoch in cycles, and no tensor.
_BETWEEN_LOOKS = 20_000


@cache
def processor() -> str:
    """Return the processor's name, as the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def processors() -> int:
    """Return how many processors this process may use: the least of its affinity and of its control groups' quotas.

    A part of a processor counts as one: with a quota of 1.5, two threads run. Processes of one run that are here together share them.

    Source: cpu.max in Linux's admin-guide/cgroup-v2; cpu.cfs_quota_us in scheduler/sched-bwc.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    together = started.local_size if (started := started_together()) is not None else 1
    return max(1, min([here, *(math.ceil(quota) for quota in _quotas())]) // together)


@dataclass(frozen=True)
class Started:
    """What torchrun tells a process of those that it was started with.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        local_rank: Its number among those of its machine.
        local_size: How many there are on its machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


_STARTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_MEETING = ("MASTER_ADDR", "MASTER_PORT")


def started_together() -> Started | None:
    """Return what torchrun says of the processes that this one was started with; None where it is alone.

    Raises:
        TlkitError: WORLD_SIZE says that there are several, and what else torchrun sets is missing or no number.

    Source: https://docs.pytorch.org/docs/stable/elastic/run.html, "Environment Variables".
    """
    if os.environ.get("WORLD_SIZE", "") in ("", "1"):
        return None
    start = "start it with torchrun --nproc-per-node=N -m tlkit apply RECIPE, or unset WORLD_SIZE for one process"
    if missing := [name for name in (*_STARTED, *_MEETING) if not os.environ.get(name)]:
        verb = "is" if len(missing) == 1 else "are"
        raise TlkitError(f"WORLD_SIZE={os.environ['WORLD_SIZE']}: {', '.join(missing)} {verb} not set.", start)
    for name in (*_STARTED, "MASTER_PORT"):
        if not re.fullmatch("[0-9]{1,9}", os.environ[name]):
            raise TlkitError(f"{name}={os.environ[name]}: is not a whole number.", start)
    found = Started(*(int(os.environ[name]) for name in _STARTED))
    if not (found.rank < found.size and found.local_rank < found.local_size <= found.size):
        shown = ", ".join(f"{name}={os.environ[name]}" for name in _STARTED)
        raise TlkitError(f"{shown}: do not go together.", start)
    return found


def refuse_unknown_device(name: str) -> None:
    """Refuse what is no name of a device, whether or not the device is here.

    Args:
        name: auto, cpu, cuda or cuda:N.

    Raises:
        TlkitError: it is another.
    """
    if not re.fullmatch("auto|(cpu|cuda)(:[0-9]+)?", str(name)):
        names = ("auto", "cpu", "cuda")
        near = "tlkit trains on CPUs and on NVIDIA GPUs" if str(name).startswith("mps") else nearest(str(name), names)
        raise UsageError(f"{option('device', name)}: is not supported.", f"one of: {', '.join(names)}, cuda:1", near)


def free_memory() -> int:
    """Return the bytes that this process can still take: the least of the machine's and of its control groups' free memory.

    Memory that holds files which were read and are not in use counts as free: the system takes it back when it is needed.

    Source: memory.max, memory.current and memory.stat in Linux's admin-guide/cgroup-v2; cgroup-v1/memory.
    """
    return max(0, min([_free_in_machine(), *_free_in_groups()]))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is not enough memory, of a GPU or of the CPU. Torch's errors are known by their words."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error))))


def temporary_folder_needed() -> str:
    """Return what to do where no folder for temporary files can be written; "" where one can."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return "  no folder for temporary files can be written, and torch and matplotlib need one: TMPDIR names it"
    return ""


def waited() -> float:
    """Return the seconds that this process's threads together were ready to run and had no processor; 0 where nothing tells.

    Source: the second number of /proc/PID/task/TID/schedstat, nanoseconds, in Linux's scheduler/sched-stats.
    """
    files = (PROC / "self" / "task").glob("*/schedstat")
    return sum(int(numbers[1]) for file in files if len(numbers := _text(file).split()) > 1) / 1e9


def boot() -> str:
    """Return a name of the time since the machine was started, which no other has; "" where the system gives none."""
    return _text(PROC / "sys" / "kernel" / "random" / "boot_id").strip()


def killed_for_memory() -> int:
    """Return how many processes of this machine its kernel has ended since its start because memory ran out, those of containers too.

    Source: oom_kill in /proc/vmstat, mm/oom_kill.c.
    """
    return _statistics(PROC / "vmstat").get("oom_kill", 0)


def let_threads_sleep() -> None:
    """Let torch's threads sleep soon where they wait, so that other programs cost little. Before torch is loaded; what is set counts."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def let_cublas_repeat() -> None:
    """Let cuBLAS give the same bits every time. Before torch is loaded; what is set counts."""
    os.environ.setdefault(CUBLAS, CUBLAS_REPEATS[0])


def draw_into_files() -> None:
    """Let Matplotlib draw without a window, and load whatever MPLBACKEND says: a command line writes pictures into files alone."""
    os.environ["MPLBACKEND"] = "agg"


def collect_rarely() -> None:
    """Let Python's garbage collector look for cycles rarely, in the whole process: only a program that is tlkit alone calls it."""
    gc.set_threshold(_BETWEEN_LOOKS, *gc.get_threshold()[1:])


class _Blocks:
    """Whether glibc keeps large freed blocks of memory for reuse: as long as somebody in this process wants it.

    Else every step's activations are given back to the system and taken again, zeroed a page at a time. Blocks come from the
    heap instead of from mmap, and the heap's top is not given back. When nobody wants it any more, all free memory is given back, and
    glibc goes on as it does by itself after a program has freed a block of 32 MiB.

    Source: mallopt(3), M_MMAP_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD; malloc_trim(3).
    """

    def __init__(self) -> None:
        self.wanted = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.wanted += 1
            if self.wanted == 1 and (libc := _glibc()) is not None:
                libc.mallopt(_M_MMAP_MAX, 0)
                libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.wanted -= 1
            if self.wanted == 0 and (libc := _glibc()) is not None:
                libc.mallopt(_M_MMAP_MAX, _MMAP_MAX)
                libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
                libc.mallopt(_M_TRIM_THRESHOLD, 2 * _MMAP_THRESHOLD)
                libc.malloc_trim(0)


# A context manager that may be nested and used by several threads. Training enters it; an import or a prediction does not.
kept_blocks = _Blocks()


@cache
def keep_blocks() -> None:
    """Let glibc keep large freed blocks of memory for the rest of the process, so only a program that is tlkit alone calls it."""
    kept_blocks.__enter__()


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):  # musl has none
        return None


def _free_in_machine() -> int:
    try:
        with open(PROC / "meminfo", encoding="ascii") as file:
            available = next(line for line in file if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_in_groups() -> Iterator[int]:
    """Free bytes of every control group with a limit that this process is in."""
    for folder in _groups(""):  # version 2
        yield from _free_in(folder, limit="memory.max", used="memory.current", idle="inactive_file")
    for folder in _groups("memory"):  # version 1, where no limit is a number larger than any memory
        yield from _free_in(folder, limit="memory.limit_in_bytes", used="memory.usage_in_bytes", idle="total_inactive_file")


def _free_in(folder: Path, *, limit: str, used: str, idle: str) -> Iterator[int]:
    most, now = _number(folder / limit), _number(folder / used)
    if most is not None and now is not None:
        yield int(most - now) + _statistics(folder / "memory.stat").get(idle, 0)


def _quotas() -> Iterator[float]:
    """Processors that every control group with a quota gives to what is in it."""
    for folder in _groups(""):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)
    for folder in _groups("cpu"):
        share, length = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if share is not None and share > 0 and length:
            yield share / length


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control group that this process is in and of those around it, of one controller; "" means version 2.

    In a container a group may be listed under the path that it has outside: what is not there is passed over.
    """
    for line in _text(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controller not in controllers.split(","):
            continue
        mounted = [CGROUPS / controllers, CGROUPS / controller] if controller else [CGROUPS, CGROUPS / "unified"]
        top = next((folder for folder in mounted if folder.is_dir()), None)
        if top is not None:
            inner = Path(path.lstrip("/"))
            yield from (folder for part in (inner, *inner.parents) if (folder := top / part).is_dir())


def _statistics(path: Path) -> Mapping[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: Path) -> int | None:
    """A file's number; None where there is none, as where it says "max"."""
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""

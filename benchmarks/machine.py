"""What this machine can do: its matrix-multiply rate, the memory that a process holds, its name.

python -m benchmarks.machine      # prints the rates as JSON
"""

from __future__ import annotations

import json
import re
import statistics
import threading
from pathlib import Path
from time import perf_counter
from types import TracebackType

_SIDE = 2048  # of the square matrices: 17 GFLOP a product, large against the caches
_REPEATS = 15
_PAUSE = 0.01  # seconds between two looks at the memory


def anonymous() -> int:
    """Return the bytes of memory that this process holds and no file backs (RssAnon; Linux only, else 0)."""
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class Peak:
    """The most anonymous memory held while the block runs, looked at every 10 ms; the kernel keeps no such peak itself."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, anonymous())
            if self._done.wait(_PAUSE):
                return


def gpu() -> str:
    """Return the GPU's name, "" without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def rates() -> dict[str, float]:
    """Measure the rate of a matrix product in each precision."""
    return {name: rate(name) for name in ("float32", "bfloat16")}


def rate(precision: str) -> float:
    """Measure floating-point operations a second of a square matrix product, a multiply-add counted as two.

    Args:
        precision: "float32" or "bfloat16".
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    a, b = (torch.randn(_SIDE, _SIDE, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_REPEATS):
        began = perf_counter()
        torch.mm(a, b).flatten()[0].item()  # waits for a GPU
        seconds.append(perf_counter() - began)
    return 2 * _SIDE**3 / statistics.median(seconds[2:])  # the first ones warm up


if __name__ == "__main__":
    print(json.dumps({"rates": rates(), "gpu": gpu()}))

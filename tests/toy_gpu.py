"""What tests of a GPU share: the marks that skip them elsewhere, and a device to run the same assertions on the CPU where they hold there."""

from collections.abc import Callable

import pytest
import torch
from toy_observers import Notes

CUDA = torch.device("cuda")
needs_cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # torch says so once in a process, at the first set_sync_debug_mode.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
]
each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])


class Watching(Notes):
    """Keeps the notes, and calls functions when a run begins, after a training step, and when a run ends."""

    def __init__(
        self,
        *,
        begin: Callable[[], None] = lambda: None,
        step: Callable[[int], None] = lambda _: None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._begin, self._step, self._end = begin, step, end

    def begin(self, label: str, **_: int) -> None:
        self._begin()

    def step(self, epoch: int, step: int) -> None:
        self._step(step)

    def end(self, label: str) -> None:
        self._end()

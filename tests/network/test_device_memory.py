"""The memory of a GPU as training sees it, by a stand-in: what torch keeps for later counts as free."""

import pytest
import torch

from tlkit.network import device_memory

DEVICE = torch.device("cuda")
TOTAL, OTHERS = 80, 10  # bytes of the GPU, and of other programs


@pytest.mark.parametrize(("reserved", "allocated"), [(0, 0), (30, 12), (30, 30), (70, 0)])
def test_what_torch_holds_is_neither_lost_nor_counted_twice(
    monkeypatch: pytest.MonkeyPatch, reserved: int, allocated: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (TOTAL - OTHERS - reserved, TOTAL))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: allocated)
    assert device_memory.free_memory(DEVICE) == TOTAL - OTHERS - allocated
    assert device_memory.usable_memory(DEVICE) == TOTAL - OTHERS, "whatever ran before"

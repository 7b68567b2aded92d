"""The watch over a step's operators sees those that make the host wait for a GPU, and no others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tlkit.engine.step.host_reads import HostReads

READS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "a truth value": lambda x: bool(x.sum() > 0),
    "is_nonzero": lambda x: torch.is_nonzero(x.sum()),
    "equal": lambda x: torch.equal(x, x + 1),
    "allclose": lambda x: torch.allclose(x, x),
    "nonzero": lambda x: x.nonzero(),
    "where of one": lambda x: torch.where(x > 0),
    "masked_select": lambda x: x.masked_select(x > 0),
    "a mask as index": lambda x: x[x > 0],
    "a mask as target": lambda x: x.clone().index_put_((x > 0,), x[0, 0]),
    "the gradient of a trace": lambda x: x.requires_grad_().trace().backward(),
    "unique": lambda x: x.unique(),
    "unique of rows": lambda x: x.unique(dim=0),
    "unique_consecutive": lambda x: x.unique_consecutive(),
    "bincount": lambda x: x.flatten().long().abs().bincount(),
    "repeat_interleave": lambda x: torch.repeat_interleave(torch.arange(3), torch.arange(3)),
    "a scalar operand": lambda x: torch.add(x, x, alpha=x.sum()),
    "foreach with one weight": lambda x: torch._foreach_lerp_([x.clone()], [x], x.sum()),
    "a copy to another device": lambda x: x.to("meta"),
    "a copy into a tensor of another device": lambda x: torch.empty_like(x, device="meta").copy_(x),
    "a fill by a tensor": lambda x: x.index_fill(0, torch.tensor([1]), x[0, 0]),
    "a fill in place by a tensor": lambda x: x.clone().index_fill_(0, torch.tensor([1]), x[0, 0]),
    "a backward pass": lambda x: Asking.apply(x.clone().requires_grad_()).sum().backward(),
}  # fmt: skip


class Asking(torch.autograd.Function):
    """Asks for a number in its backward pass."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad * grad.sum().item()


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_watch_sees_what_waits_for_the_device(read: Callable[[Tensor], object]) -> None:
    x = torch.randn(4, 4)
    with HostReads() as reads:
        read(x)
    assert reads.found


def test_the_watch_passes_a_gather_a_fill_by_a_number_and_a_choice_by_a_mask() -> None:
    x, rows = torch.randn(4, 4), torch.tensor([3, 0])
    with HostReads() as reads:
        (
            x[rows],
            x.index_select(0, rows),
            torch.where(x > 0, x, -x),
            x.masked_fill(x > 0, 0.0),
            x.clone().index_put_((rows,), x[:2]),
            x.clone().copy_(x.double()),
            x.index_fill(0, rows, 1.0),
            x.index_add(0, rows, x[:2]),
            torch.full((2,), fill_value=1.0, dtype=torch.float64),
        )
    assert reads.found == []


def test_the_watch_names_operators_in_order_and_changes_no_result() -> None:
    x = torch.tensor([3.0, -1.0])
    with HostReads() as reads:
        found = x[x > 0], x.sum().item(), x.index_fill(0, torch.tensor([0]), torch.tensor(2.0)), x.add(x, alpha=2)
    assert reads.found == ["aten.index.Tensor", "aten._local_scalar_dense.default", "aten.index_fill.int_Tensor"]
    assert [each if isinstance(each, float) else each.tolist() for each in found] == [[3.0], 2.0, [2.0, -1.0], [9.0, -3.0]]

"""The limit of a training step: its arithmetic, and that it runs."""

import json
from collections.abc import Callable

import pytest
import torch

from benchmarks import limits, machine
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT

SLOW = limits.Rates({"float32": 1e9, "bfloat16": 4e9}, memory=1e9)


def operators(call: Callable[[], object], rates: limits.Rates = SLOW) -> dict[str, limits.Operator]:
    with limits._Timed(rates) as timed:
        call()
    return {name: one for (name, _), one in timed.operators.items()}


def test_an_elementwise_operator_is_bound_by_the_bytes_that_it_reads_and_writes() -> None:
    x = torch.ones(1000)
    found = operators(lambda: x + x[:1].expand(1000))["add"]
    assert found.bound == "memory"
    assert found.limit == pytest.approx((4000 + 4 + 4000) / 1e9)  # an expanded tensor is one value


def test_a_convolution_is_bound_by_its_operations() -> None:
    x, weight = torch.ones(2, 8, 5, 5, dtype=torch.bfloat16), torch.ones(8, 1, 3, 3, dtype=torch.bfloat16)
    fast = limits.Rates(SLOW.product, memory=1e15)
    found = operators(lambda: torch.conv2d(x, weight, padding=1, groups=8), fast)["depthwise 3x3 convolution"]
    assert found.bound == "product"
    assert found.limit == pytest.approx(2 * (2 * 8 * 5 * 5) * 9 / 4e9)


def test_both_gradients_of_a_convolution_count() -> None:
    x, weight = torch.ones(1, 4, 6, 6), torch.ones(6, 4, 3, 3, requires_grad=True)
    fast = limits.Rates(SLOW.product, memory=1e15)
    for needs, times in ((True, 2), (False, 1)):
        y = torch.conv2d(x.clone().requires_grad_(needs), weight, stride=2)
        grad = torch.ones_like(y)
        found = operators(lambda y=y, grad=grad: y.backward(grad), fast)["gradients of 3x3 convolution, stride 2"]
        assert found.limit == pytest.approx(times * 2 * (6 * 2 * 2) * (4 * 9) / 1e9)


def test_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(limits, "rates", lambda: SLOW)
    limits.main(["cifar_resnet20", "--side", "32", "--batch", "2", "--steps", "1", "--top", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("cifar_resnet20, 32 px, batch 2, bfloat16 channels_last,")
    assert len(lines) == 10  # a line of rates, one of the step, a header, three rows, and empty lines
    limits.main(["cifar_resnet20", "--side", "32", "--batch", "2", "--steps", "1", "--json", "--format", str(PLAIN_FORMAT)])
    found = json.loads(capsys.readouterr().out)
    assert {"3x3 convolution", "gradients of 3x3 convolution", "native_batch_norm"} <= {
        each["name"] for each in found["operators"]
    }


def test_a_format_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        limits.main(["resnet18", "--format", "float16"])
    said = capsys.readouterr().err
    assert all(str(each) in said for each in COMPUTE_FORMATS)


def test_rates_are_the_best_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([1.0, 3.0, 2.0, 4.0, 6.0, 5.0])
    monkeypatch.setattr(machine, "rate", lambda _: next(found))
    monkeypatch.setattr(limits, "_COPY", 2**20)
    assert dict(limits.rates().product) == {"float32": 3.0, "bfloat16": 6.0}

"""Which of several precisions is taken: the fastest that is near enough to float32 in every arm, with the sums worked by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_choices import ROOM, made

from tlkit import api
from tlkit.engine import formats
from tlkit.errors import TlkitError
from tlkit.plans import choices, precision
from tlkit.plans.plan import Plan
from tlkit.record.formats import ComputeFormat, Precision, compute_formats
from tlkit.record.timings import Measurements, Timing

GPU: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan in which everything trains."""
    return made(tmp_path_factory.mktemp("whole"), "freeze={}")


def measured(precisions: tuple[Precision, ...], milliseconds: tuple[float, ...], errors: tuple[float, ...]) -> Measurements:
    """Both memory formats of each precision take the same time and are as far off."""
    each = dict(zip(precisions, zip(milliseconds, errors, strict=True), strict=True))
    rows = [Timing(form, each[form.precision][0] / 1000, each[form.precision][1]) for form in compute_formats(precisions)]
    return Measurements(tuple(rows), (), 0.0, "")


@pytest.mark.parametrize(
    ("milliseconds", "errors", "expected", "words"),
    [
        ((10, 5, 2), (0, 3e-4, 4e-3), "bfloat16", ["in float32", "in tf32"]),
        ((10, 5, 2), (0, 3e-4, 2e-1), "tf32", ["in float32"]),
        ((10, 5, 6), (0, 3e-4, 4e-3), "tf32", ["in float32", "in bfloat16"]),
        ((10, 9.8, 9.9), (0, 3e-4, 4e-3), "float32", ["in tf32", "in bfloat16"]),
        ((10, 5, 2), (0, 1.3e-1, 1.4e-1), "float32", ["in tf32 main is 13.0% off", "in bfloat16 main is 14.0% off"]),
        ((10, 5, float("inf")), (0, 3e-4, float("inf")), "tf32", []),
    ],
)
def test_the_fastest_precision_that_is_near_enough_is_taken(
    whole: Plan, milliseconds: tuple[float, ...], errors: tuple[float, ...], expected: str, words: list[str]
) -> None:
    known = measured(GPU, milliseconds, errors)
    shared = precision.decide([(replace(whole, arm="main"), known)]).step
    assert shared.precision == expected
    for word in words:
        assert word in shared.reason
    assert choices.decide(whole, known, room=ROOM).compute_format.precision == expected


def test_a_precision_that_one_arm_was_not_measured_in_is_not_taken(whole: Plan) -> None:
    """One arm's recipe asked for float16 before, so that was measured too."""
    many = measured((*GPU, "float16"), (10, 5, 4, 1), (0, 0, 0, 0))
    arms = [(whole, many), (whole, measured(GPU, (10, 5, 4), (0, 0, 0)))]
    assert precision.decide(arms).step.precision == "bfloat16"


def test_a_precision_that_was_decided_on_a_gpu_is_kept_on_a_cpu(whole: Plan) -> None:
    plan = replace(whole, tables=whole.tables.model_copy(update={"precision": "tf32"}))
    decided = choices.decide(plan, measured(("float32", "bfloat16"), (10, 5), (0, 0)), room=ROOM)
    assert decided.compute_format == ComputeFormat("tf32")


@pytest.mark.parametrize(
    ("capability", "asked", "expected"),
    [
        ((9, 0), "auto", ("float32", "tf32", "bfloat16")),
        ((8, 0), "float16", ("float32", "tf32", "bfloat16", "float16")),
        ((7, 5), "auto", ("float32", "float16")),
        ((7, 0), "bfloat16", ("float32", "float16", "bfloat16")),
    ],
)
def test_a_gpu_is_measured_in_the_precisions_that_it_has(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], asked: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert formats.considered(torch.device("cuda"), asked) == expected
    assert formats.considered(torch.device("cpu"), asked)[:2] == ("float32", "bfloat16")


@pytest.mark.parametrize(
    ("name", "words"), [("tf32", ["NVIDIA", 'precision = "float32"']), ("float16", ["scaled", 'precision = "bfloat16"'])]
)
def test_a_precision_of_gpus_is_refused_on_a_cpu_with_what_to_take(toy_recipe: Path, name: str, words: list[str]) -> None:
    with pytest.raises(TlkitError) as caught:
        api.plan(toy_recipe, f"precision={name}", device="cpu")
    assert str(caught.value).startswith(f'{toy_recipe}: precision: "{name}": ')
    for word in words:
        assert word in str(caught.value)


def test_tf32_is_refused_on_a_gpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    refused = formats.why_not("tf32", torch.device("cuda"))
    assert refused is not None
    assert "Tesla T4 has no tf32" in refused[0]
    assert formats.why_not("float16", torch.device("cuda")) is None

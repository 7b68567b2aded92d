"""The rate of the fixed prefix beside a matrix product: its arithmetic, and that it runs."""

import json

import pytest

from benchmarks import machine, prefix
from tlkit.record.formats import COMPUTE_FORMATS, ComputeFormat

# Multiply-adds of ResNet-18 without its classifier at 224 pixels, output channels x input channels x window x places:
STEM = 64 * 3 * 49 * 112 * 112
LAYER1 = 4 * 64 * 64 * 9 * 56 * 56
# Each later stage has twice the channels at half the side: its last three convolutions do as much as one of layer1 each, its first
# a half of that, and the one of the shortcut has a window of one pixel.
LATER = 64 * 128 * 9 * 28 * 28 + 3 * 128 * 128 * 9 * 28 * 28 + 64 * 128 * 28 * 28


def test_operations_are_those_worked_by_hand() -> None:
    assert STEM + LAYER1 + 3 * LATER == 1_813_561_344
    assert prefix.flops(prefix.network(), side=224) == 2 * 1_813_561_344
    assert prefix.flops(prefix.network(), side=32) * 49 == 2 * 1_813_561_344


def test_a_row_is_the_median_of_its_rounds() -> None:
    compute_format = ComputeFormat("bfloat16", "channels_last")
    row = prefix.row(compute_format, images=64, seconds=[4.0, 0.5, 1.0, 0.5, 2.0], flops=2_000_000_000, rate=512e9)
    assert row == prefix.Row(compute_format, images_per_second=64.0, gflops=128.0, rate=512.0, part=0.25)


def test_it_runs_every_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def rate(precision: str) -> float:
        asked.append(precision)
        return {"float32": 1e12, "bfloat16": 4e12}[precision]

    monkeypatch.setattr(machine, "rate", rate)
    prefix.main(["--images", "3", "--side", "32", "--rounds", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [(row["precision"], row["layout"]) for row in found["forms"]] == [(f.precision, f.layout) for f in COMPUTE_FORMATS]
    assert asked == ["float32", "bfloat16"] * 2
    assert found["images"] == 32  # a chunk, which is always full
    for row in found["forms"]:
        assert row["gflops"] == pytest.approx(row["images_per_second"] * 2 * 1_813_561_344 / 49 / 1e9)
        assert row["part"] == pytest.approx(row["gflops"] / {"float32": 1e3, "bfloat16": 4e3}[row["precision"]])
    best = max(row["gflops"] for row in found["forms"])
    assert found["reached"] == pytest.approx(best / 4e3)


def test_the_words_say_what_is_to_be_reached(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "rate", lambda _: 1e12)
    prefix.main(["--images", "32", "--side", "32", "--rounds", "1"])
    said = capsys.readouterr().out
    assert "bfloat16 channels_last" in said
    assert "the goal is 40%" in said
    assert said.splitlines()[1].split()[:4] == ["compute", "format", "images/s", "GFLOP/s"]


def test_the_rate_of_a_product_counts_a_multiply_add_as_two(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(machine, "_SIDE", 8)
    monkeypatch.setattr(machine, "perf_counter", lambda: float(next(clock)))
    assert machine.rate("float32") == 2 * 8**3  # a second each

"""The census of a network's convolutions: which, how often, and the arithmetic of its rates and shares."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import Cli

from tlkit.compiler import census as censuses
from tlkit.compiler.census import census
from tlkit.errors import TlkitError
from tlkit.plugin import Backbone, Head, registry
from tlkit.record.census import Census, CensusRow
from tlkit.record.formats import ComputeFormat
from tlkit.record.kernels import Convolution

FLOAT = ComputeFormat("float32", "contiguous")


def measured(name: str, *, compute_format: ComputeFormat = FLOAT, threads: int = 1) -> Census:
    backbone, head = registry.get(Backbone, name), registry.get(Head, "linear")
    return census(name, backbone, head, image_size=(16, 16), images=2, compute_format=compute_format, threads=threads)


@pytest.fixture(scope="module")
def found() -> Census:
    return measured("cifar_resnet20")


def test_every_convolution_of_the_network_is_counted(found: Census) -> None:
    """ResNet-20 for CIFAR, He et al. 2016, section 4.2: 3x3 convolutions, 1 + 6 + 6 + 6; nothing asks for the pictures' gradient."""
    counts = {part: sum(row.count for row in found.rows if row.part == part) for part in ("forward", "input", "weight")}
    square = {
        part: sum(row.count for row in found.rows if row.part == part and row.convolution.weight[2:] == (3, 3))
        for part in counts
    }
    assert square == {"forward": 19, "input": 18, "weight": 19}
    assert counts["forward"] == counts["weight"] == counts["input"] + 1


def test_operations_rates_and_shares_are_those_worked_by_hand(found: Census) -> None:
    (first,) = (row for row in found.rows if row.part == "forward" and row.convolution.image == (3, 16, 16))
    assert (
        first.flops == 2 * 2 * 16 * 16 * 16 * 3 * 9
    )  # a multiply-add is two; 2 images, 16 channels of 16x16, 3 channels of 3x3
    assert (found.threads, found.images, found.image_size) == (1, 2, (16, 16))
    convolution = Convolution((8, 4, 4), (8, 8, 1, 1), (1, 1), (0, 0), (1, 1), 1, FLOAT)
    rows = (
        CensusRow(convolution, "forward", 2, "native", 1e-3, 1e-3, 4_000_000),
        CensusRow(convolution, "weight", 2, "windows", 2e-3, 4e-3, 4_000_000),
    )
    made = Census("toy", (4, 4), 1, FLOAT, 1, 0.02, rows)
    assert [made.share(row) for row in rows] == pytest.approx([0.1, 0.4])
    assert made.best_rate == 4e9
    assert made.to_json()["rows"][1]["times_the_best_rate"] == 2.0
    assert (made.convolutions, made.replaced) == (pytest.approx(0.5), 2)
    assert made.speedup == pytest.approx(0.02 / 0.016)  # two calls save 2 ms each


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    measured("toy", compute_format=ComputeFormat("bfloat16", "channels_last"), threads=before + 1)
    assert torch.get_num_threads() == before


def test_images_that_a_network_cannot_read_are_an_error() -> None:
    with pytest.raises(TlkitError, match=r"^alexnet: cannot train on images of 16 px: it needs at least 63 px\.\n") as error:
        measured("alexnet")
    assert "63" in error.value.hints[0]
    assert "224 px" in error.value.hints[0]


def test_one_image_that_batch_norm_cannot_normalise_is_an_error_that_says_what_to_do() -> None:
    toy, head = replace(registry.get(Backbone, "toy"), minimum_size=1), registry.get(Head, "linear")
    with pytest.raises(TlkitError, match=r"^toy: cannot train on 1 image of 1 px\.\n") as error:
        census("toy", toy, head, image_size=(1, 1), images=1, compute_format=FLOAT)
    assert "batch norm needs more than one value of each channel" in error.value.hints[0]


def test_the_command_prints_a_table_and_json(run: Cli) -> None:
    options = ("toy", "--image-size", "16x12", "--batch-size", "2")
    code, out, err = run("bench", "kernels", *options)
    assert (code, err) == (0, "")
    assert "toy, 2 images of 16x12 px, bfloat16 channels_last" in out
    assert "gradient of the weight" in out
    assert "Convolutions take " in out
    code, out, _ = run("bench", "kernels", *options, "--precision", "float32", "--json")
    record = json.loads(out)
    assert (code, record["format"], record["image_size"]) == (0, 1, [16, 12])
    assert {row["part"] for row in record["rows"]} == {"forward", "input", "weight"}
    assert all(row["rate"] > 0 for row in record["rows"])


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["resnet81"], 'did you mean "resnet18"?', 1),
        (["toy", "--image-size", "big"], '"big" is no size in pixels, as 224 or 224x160', 2),
        (["toy", "--image-size", "0x16"], '"0x16" is no size in pixels, as 224 or 224x160', 2),
        (["toy", "--batch-size", "0"], "--batch-size", 2),
    ],
)
def test_a_wrong_argument_is_named(run: Cli, options: list[str], said: str, code: int) -> None:
    assert run("bench", "kernels", *options)[0] == code
    assert said in " ".join(run("bench", "kernels", *options)[2].split())


@pytest.mark.parametrize(
    ("taken", "calls", "least"), [([9.0, 2.0, 1.0, 0.5], 3, 1.0), ([9.0, 2.0, 4.0, 0.5], 3, 2.0), ([0.1] * 9, 6, 0.1)]
)
def test_long_calls_are_timed_twice(monkeypatch: pytest.MonkeyPatch, taken: list[float], calls: int, least: float) -> None:
    """Seconds of each call; the first is not timed."""
    now, made = [0.0], []

    def run() -> None:
        now[0] += taken[len(made)]
        made.append(1)

    monkeypatch.setattr(censuses.clock, "now", lambda: now[0])
    assert censuses._least(run, 5, enough=3.0) == pytest.approx(least)
    assert len(made) == calls

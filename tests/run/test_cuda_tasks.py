"""Masks, boxes and adaptation on a GPU: captured or not, they learn what they learn on a CPU, and say why a step is not captured.

The assertions hold on a CPU too, where other tests show more; that these run there, too, shows that the tests themselves work.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_boxes
import toy_domains
import toy_masks
from conftest import Cli
from safetensors.torch import load_file
from toy_gpu import Watching, needs_cuda

from tlkit import api
from tlkit.engine import evaluation_forward

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def _evaluated_by_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few images of these tests too, so that what a graph answers is compared with what a run without one does."""
    monkeypatch.setattr(evaluation_forward, "OFTEN", 2)


each_device = pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=needs_cuda)]
)


def each_on_a_gpu(name: str, values: Iterable[str], *, cpu: str) -> pytest.MarkDecorator:
    """Every value on a GPU, and one on the CPU."""
    cases = [
        pytest.param(cpu, "cpu", marks=pytest.mark.slow),
        *(pytest.param(each, "cuda", marks=needs_cuda) for each in values),
    ]
    return pytest.mark.parametrize((name, "device"), cases)


CROPS = ("data.crop_size=16", "schedule.epochs=12", 'data.augment=["hflip", {name="rotate", steps=90}]', "loss.dice=1.0")
METHODS = {
    "cdan": ('adapt.method="cdan"',),
    "mdd": ('adapt.method="mdd"',),
    "mmd": ('adapt.method="mmd"', 'adapt.options={stages=["stem", "block2"]}'),
    "mcc": ('adapt.method="mcc"', 'data.augment=[{name="mixup", alpha=1.0}]'),
    "mme": ('adapt.method="mme"', "adapt.labels_per_class=2"),
}
ADAPTED = toy_domains.recipe(
    data="batch_size = 6\n",
    adapt='method = "cdan"\nimages = "all"\n',
    more="[lr_groups]\nbackbone = 1e-2\nhead = 1e-2\n[schedule]\nepochs = 3\n",
)


def applied(recipe: Path, settings: tuple[str, ...], device: str, *, graph: bool = True) -> tuple[Path, list[str]]:
    """Train the recipe's one run; return its folder and what it said."""
    watching, runs = Watching(), recipe.parent / f"runs-{device}-{graph}"
    done = api.apply(recipe, settings, device=device, graph=graph, runs=runs, observer=watching)
    assert done.failures == ()
    (result,) = runs.glob("*/*/result.json")
    return result.parent, watching.notes


def assert_same(one: Path, other: Path) -> None:
    """The runs in two folders have the same weights and the same losses, to the bit."""
    mine, theirs = (load_file(each / "weights.safetensors") for each in (one, other))
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    lines = [(each / "metrics.jsonl").read_text().splitlines() for each in (one, other)]
    losses = [[(json.loads(line)["train"]["loss"], json.loads(line)["validation"]) for line in each] for each in lines]
    assert losses[0] == losses[1]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())["test"]


def masks(folder: Path, monkeypatch: pytest.MonkeyPatch, *, counts: tuple[int, int, int] = (8, 4, 4)) -> Path:
    toy_masks.install(monkeypatch)
    toy_masks.write(folder / "data", counts=counts)
    (folder / "r.toml").write_text(toy_masks.RECIPE)
    return folder / "r.toml"


@each_on_a_gpu("head", ["fcn", "unet", "fpn", "deeplab"], cpu="fpn")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_masks_have_the_bits_of_steps_without_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, head: str, precision: str
) -> None:
    recipe = masks(tmp_path, monkeypatch)
    settings = (*CROPS, "schedule.epochs=3", f'head.kind="{head}"', f"precision={precision}")
    if head != "unet":  # which has none
        settings += ("head.options.dropout=0.3",)
    captured, notes = applied(recipe, settings, device)
    eager, _ = applied(recipe, settings, device, graph=False)
    assert not [note for note in notes if "graph" in note]
    assert_same(captured, eager)


@each_device
def test_masks_are_learned_and_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Cli, device: str) -> None:
    """Passes if the network finds the shapes, and what `evaluate` and `predict` say of files is what the run said."""
    recipe = masks(tmp_path, monkeypatch)
    folder, _ = applied(recipe, CROPS, device)
    test = result_of(folder)
    assert test["dice"] > 0.8
    path = tmp_path / "data"
    code, out, error = run(
        "evaluate", folder, "--on", "shapes", "--set", f"data.options.path={path}", "--device", device, "--json"
    )
    assert code == 0, error
    again = json.loads(out)["metrics"]
    assert {name: again[name] for name in test} == pytest.approx(test, abs=5e-3)
    code, _, error = run("predict", folder, path / "test" / "images", "--device", device, "--out", tmp_path / "out")
    assert code == 0, error
    assert len(list((tmp_path / "out").rglob("*-overlay.png"))) == len(list((path / "test" / "images").iterdir()))


@each_device
def test_a_frozen_trunk_stores_what_the_decoder_of_masks_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """Passes if stored maps train to the bits of a run without a graph, which reads them too."""
    recipe = masks(tmp_path, monkeypatch)
    settings = ("head.kind=unet", "freeze={stem=true, block1=true}")
    captured, _ = applied(recipe, settings, device)
    eager, _ = applied(recipe, settings, device, graph=False)
    assert_same(captured, eager)


def unwaited(recipe: Path, settings: tuple[str, ...], device: str, *, steps: int) -> list[int]:
    """Train two epochs, and refuse what waits for the GPU from their fifth step to their last; return the steps that were taken."""
    taken: list[int] = []

    def step(number: int) -> None:
        taken.append(number)
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error" if 4 <= number < steps else "default")

    watching = Watching(step=step)
    try:
        done = api.apply(
            recipe, (*settings, "schedule.epochs=2"), device=device, runs=recipe.parent / "runs", observer=watching
        )
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert done.failures == ()
    assert not [note for note in watching.notes if "graph" in note]
    return taken


@each_device
def test_no_step_on_masks_waits_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Passes if torch's own watch finds no wait: masks are read ahead, with crops and turns of their own."""
    recipe = masks(tmp_path, monkeypatch, counts=(48, 4, 4))
    assert unwaited(recipe, CROPS, device, steps=12) == [*range(1, 13)] * 2


@each_device
def test_no_step_of_adaptation_waits_for_the_gpu(tmp_path: Path, device: str) -> None:
    recipe = toy_domains.write(tmp_path, ADAPTED)
    settings = ("data.batch_size=3", 'data.augment=["hflip"]')
    assert unwaited(recipe, settings, device, steps=9) == [*range(1, 10)] * 2


@each_on_a_gpu("head", ["fcos", "retinanet"], cpu="fcos")
def test_boxes_are_learned_and_found(tmp_path: Path, run: Cli, device: str, head: str) -> None:
    toy_boxes.write(tmp_path / "data", counts=(16, 4, 4))
    (tmp_path / "r.toml").write_text(toy_boxes.RECIPE)
    epochs = 8 if head == "fcos" else 1  # of retinanet it is enough that it runs
    settings = (f"schedule.epochs={epochs}", 'data.augment=["hflip"]', f'head.kind="{head}"')
    folder, _ = applied(tmp_path / "r.toml", settings, device)
    if head == "fcos":
        assert result_of(folder)["map50"] > 0.3, "by chance it would be about 0"
    found = tmp_path / "data" / "test" / "images"
    code, out, error = run("predict", folder, found, "--device", device, "--out", tmp_path / "drawn", "--json")
    assert code == 0, error
    assert len(json.loads(out)["images"]) == 4


@each_on_a_gpu("method", METHODS, cpu="mme")
def test_adaptation_has_the_bits_of_steps_without_a_graph(tmp_path: Path, device: str, method: str) -> None:
    recipe = toy_domains.write(tmp_path, ADAPTED)
    captured, notes = applied(recipe, METHODS[method], device)
    eager, _ = applied(recipe, METHODS[method], device, graph=False)
    assert not [note for note in notes if "graph" in note]
    assert_same(captured, eager)

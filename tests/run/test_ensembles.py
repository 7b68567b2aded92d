"""Runs that predict together: the mean of their probabilities, or a greedy soup of their weights, compared with plain numpy and torch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_runs
from conftest import TOY_RECIPE, Cli
from rich.console import Console
from safetensors.torch import load_file
from tlkit_toy_build import ToyNet
from toy_training import training

from tlkit import api
from tlkit.engine.ranks.ranks import Group
from tlkit.errors import RecipeError
from tlkit.plans import resolve
from tlkit.record import run_folder
from tlkit.reports import result_table
from tlkit.run import ensembles as combining
from tlkit.sources.places import Places

RECIPE = (
    TOY_RECIPE.replace('name = "toy"\n\n', 'name = "toy"\nseeds = [0, 1]\n\n', 1)
    + "\n[arms.a]\n[arms.b]\nlr_groups = { backbone = 3e-3, head = 3e-2 }\n"
)
NOISY = ["schedule.epochs=1", "data.options.noise=1.0", "data.options.test=60", "data.split.validation=0.4"]
SEEDS, ARMS = 'ensemble={members="seeds"}', 'ensemble={members=["a", "b"]}'
SOUP = 'ensemble={members=["a", "b"], average="weights"}'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe and its four runs; what a test applies again trains nothing."""
    folder = tmp_path_factory.mktemp("ensembles")
    with toy_runs.applied(folder, RECIPE, *NOISY):
        return folder


def _apply(folder: Path, *settings: str) -> dict[str, Any]:
    combine = combining.combine

    def of_two(*given: Any) -> None:  # processes, of which the other one waits
        combine(*given[:-1], replace(given[-1], ranks=Group(0, 2, 0, 2)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combining, "combine", of_two)
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        applied = api.apply(folder / "toy.toml", [*NOISY, *settings], runs=folder / "runs")
    assert not applied.changed
    return dict(applied.result)


def _arrays(folder: Path, arm: str, seed: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    (run,) = (folder / "runs" / "toy").glob(f"{arm}-s{seed}-*")
    with np.load(run / "predictions.npz") as arrays:
        found = dict(arrays)
    mine = found["split"] == split
    logits = found["logits"][mine].astype(np.float64)
    each = np.exp(logits - logits.max(1, keepdims=True))
    return each / each.sum(1, keepdims=True), found["label"][mine]


def test_mean_of_seeds_is_the_mean_of_their_probabilities(finished: Path) -> None:
    result = _apply(finished, SEEDS)
    assert [each["name"] for each in result["ensembles"]] == ["a", "b"]
    (first, labels), (second, _) = (_arrays(finished, "b", seed, "test") for seed in (0, 1))
    mean = (first + second) / 2
    (run,) = result["ensembles"][1]["runs"]
    assert run["test"]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
    assert run["test"]["loss"] == pytest.approx(-np.log(mean[np.arange(len(labels)), labels]).mean(), rel=1e-5)
    assert run["validation"] is None  # each seed holds out other images, which the other has trained on
    before = (finished / "runs" / "toy" / "ensembles.json").stat().st_mtime_ns
    _apply(finished, SEEDS)
    assert (finished / "runs" / "toy" / "ensembles.json").stat().st_mtime_ns == before


def test_ensemble_is_computed_again_when_a_member_was_trained_again(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "again")
    _apply(folder, ARMS)
    file = folder / "runs" / "toy" / "ensembles.json"
    known = json.loads(file.read_text())
    known["ensembles"][0]["test"]["accuracy"] = 0.123  # of a member that is not there any more
    file.write_text(json.dumps(known))
    (run,) = file.parent.glob("a-s0-*")
    shutil.rmtree(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        applied = api.apply(folder / "toy.toml", [*NOISY, ARMS], runs=folder / "runs")
    (first, labels), (second, _) = (_arrays(folder, arm, 0, "test") for arm in ("a", "b"))
    told = applied.result["ensembles"][0]["runs"][0]["test"]["accuracy"]
    assert told == pytest.approx((((first + second) / 2).argmax(1) == labels).mean())


def test_mean_of_arms_is_one_for_each_seed(finished: Path) -> None:
    (found,) = _apply(finished, ARMS)["ensembles"]
    assert (found["name"], [run["seed"] for run in found["runs"]]) == ("a + b", [0, 1])
    (first, labels), (second, _) = (_arrays(finished, arm, 1, "validation") for arm in ("a", "b"))
    assert found["runs"][1]["validation"]["accuracy"] == pytest.approx((((first + second) / 2).argmax(1) == labels).mean())
    assert found["test"]["accuracy"]["n"] == 2


def _right(folder: Path, states: list[dict[str, torch.Tensor]], split: str) -> float:
    """Accuracy of plain PyTorch's network with the mean of states, on the images of seed 0."""
    net = ToyNet(4)
    net.load_state_dict({name: sum((state[name] for state in states), torch.zeros(())) / len(states) for name in states[0]})
    part = training(folder / "toy.toml", *NOISY, arm="a").prepared.evaluated.parts[split]
    with torch.no_grad():
        chosen = net.eval()(part.inputs(part.indices, 0, torch.device("cpu"))).argmax(1)
    return float((chosen == part.targets(part.indices, 0, torch.device("cpu"))).float().mean())


def test_soup_takes_the_members_that_make_it_no_worse_on_validation_images(finished: Path) -> None:
    (found,) = _apply(finished, SOUP)["ensembles"]
    run = found["runs"][0]
    weights = {name: load_file(finished / "runs" / "toy" / name / run_folder.WEIGHTS) for name in run["members"]}
    alone = {name: _right(finished, [state], "validation") for name, state in weights.items()}
    best = max(alone, key=lambda name: alone[name])
    (other,) = weights.keys() - {best}
    both = _right(finished, [weights[best], weights[other]], "validation")
    assert run["used"] == ([best, other] if both >= alone[best] else [best])
    assert run["test"]["accuracy"] == pytest.approx(_right(finished, [weights[name] for name in run["used"]], "test"))
    kept = load_file(finished / "runs" / "toy" / "soup-s0.safetensors")
    for name, tensor in kept.items():
        mean = sum(weights[each][name].double() for each in run["used"]) / len(run["used"])
        torch.testing.assert_close(tensor, mean.to(tensor.dtype))
    soup = f'backbone.weights="{finished / "runs" / "toy" / "soup-s0.safetensors"}"'
    begun = training(finished / "toy.toml", *NOISY, soup, arm="a").prepared.start.get().tensors()  # a recipe may begin with it
    torch.testing.assert_close(begun["conv1.weight"], kept["conv1.weight"])


def test_ensemble_that_failed_is_computed_when_what_was_wrong_is_mended(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "again")
    (member,) = (folder / "runs" / "toy").glob("a-s0-*")
    whole = (member / "predictions.npz").read_bytes()
    (folder / "runs" / "toy" / "ensembles.json").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlkit.plans.job_folders.finished", lambda *_, **__: True)  # the member is not mended by training
        (member / "predictions.npz").write_bytes(whole[: len(whole) // 2])
        assert "damaged" in _apply(folder, ARMS)["ensembles"][0]["runs"][0]["why_none"]
        (member / "predictions.npz").write_bytes(whole)
        assert _apply(folder, ARMS)["ensembles"][0]["runs"][0]["why_none"] == ""


def test_soup_of_seeds_that_hold_out_other_images_is_none_and_says_why(finished: Path) -> None:
    result = _apply(finished, SEEDS, "ensemble.average=weights")
    assert all("different validation images" in each["runs"][0]["why_none"] for each in result["ensembles"])
    console = Console(width=200)
    with console.capture() as shown:
        console.print(result_table.result(result))
    assert "a (soup of seeds): none, its members have different validation images" in shown.get()


def test_ensembles_are_rows_of_the_table_and_of_the_report(finished: Path, run: Cli) -> None:
    settings = [part for each in (*NOISY, ARMS) for part in ("--set", each)]
    code, out, _ = run("apply", finished / "toy.toml", "--runs", finished / "runs", *settings)
    assert code == 0
    assert "a + b (mean)" in out
    result = json.loads((finished / "runs" / "toy" / "result.json").read_text())
    accuracy = result["ensembles"][0]["test"]["accuracy"]["mean"]
    page = (finished / "runs" / "toy" / "report.html").read_text()
    row = page[page.index(">a + b (mean)<") :].partition("</tr>")[0]
    assert f"{accuracy:.1%}" in row


def test_ensemble_changes_no_digest(finished: Path) -> None:
    _, plain = resolve.load(finished / "toy.toml", NOISY, Places())
    _, together = resolve.load(finished / "toy.toml", [*NOISY, SEEDS], Places())
    assert plain["a"].arm == together["a"].arm


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([SOUP, "arms.b.head.kind='mlp'"], "the weights of a and b are of different networks: head.kind"),
        ([SOUP, "arms.b.head.kind='svm'", "arms.b.lr_groups={}"], "whose svm head is solved"),
        ([ARMS, "arms.b.data.options.test=30"], "a and b do not predict for the same images: data.options"),
    ],
)
def test_arms_that_cannot_predict_together_are_a_message(tmp_path: Path, settings: list[str], words: str) -> None:
    (tmp_path / "toy.toml").write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        resolve.load(tmp_path / "toy.toml", settings, Places())
    assert words in str(caught.value)

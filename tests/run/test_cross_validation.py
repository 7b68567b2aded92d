"""[cross_validation]: a run for each seed and fold, what becomes of the data set's own parts, and the result over folds."""

import itertools
import json
import math
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_runs
from conftest import TOY_RECIPE, Cli
from PIL import Image
from scipy.stats import t as student
from toy_observers import Notes, Stops

import tlkit
from tlkit import api
from tlkit.errors import RecipeError, TlkitError
from tlkit.plans import dataset_facts, jobs, resolve
from tlkit.plans.dataset_facts import DataFacts
from tlkit.record import results, run_choice, run_folder
from tlkit.run import loading
from tlkit.sources.places import Places

FOLDS, SEEDS, IMAGES = 3, (0, 1), 40
RECIPE = (
    TOY_RECIPE.replace("train = 80", f"train = {IMAGES}")
    .replace("epochs = 2", "epochs = 1")
    .replace('name = "toy"\n', f'name = "toy"\nseeds = [0, 1]\ncross_validation.folds = {FOLDS}\n', 1)
)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[api.Applied]:
    """Two seeds of three folds; tests only read it."""
    folder = tmp_path_factory.mktemp("folds")
    with toy_runs.applied(folder, RECIPE) as done:
        yield done


def runs_of(applied: api.Applied) -> dict[tuple[int, int], dict[str, Any]]:
    seeds = applied.result["arms"]["main"]["seeds"]
    return {(int(seed), int(fold)): run for seed, table in seeds.items() for fold, run in table["folds"].items()}


def positions(folder: Path, part: str) -> list[int]:
    return json.loads((folder / "split.json").read_text())[part]["positions"]


def test_every_seed_and_fold_has_a_run_of_its_own(applied: api.Applied) -> None:
    runs = runs_of(applied)
    assert list(runs) == [(seed, fold) for seed in SEEDS for fold in range(1, FOLDS + 1)]
    for (seed, fold), run in runs.items():
        assert run["folder"] == f"main-s{seed}-f{fold}-{run['digest'][:8]}"
        assert (run["seed"], run["fold"], run["status"]) == (seed, fold, "finished")
    assert len({run["digest"] for run in runs.values()}) == 1


def test_every_image_is_tested_by_one_fold_of_a_seed_and_never_trained_on_there(applied: api.Applied) -> None:
    folders = {key: applied.folder / run["folder"] for key, run in runs_of(applied).items()}
    for seed in SEEDS:
        tested = [positions(folders[seed, fold], "test") for fold in range(1, FOLDS + 1)]
        assert sorted(itertools.chain(*tested)) == list(range(IMAGES))
    for folder in folders.values():
        whole = [position for part in ("train", "validation", "test") for position in positions(folder, part)]
        assert sorted(whole) == list(range(IMAGES))
        assert positions(folder, "validation")


def test_result_has_the_mean_over_folds_and_an_interval_for_folds_that_share_images(applied: api.Applied) -> None:
    values = [run["test"]["accuracy"] for run in runs_of(applied).values()]
    assert len(values) == 6
    mean = statistics.fmean(values)
    # Nadeau & Bengio 2003: of three folds, each test set is half as large as the training set of its run.
    half = student.ppf(0.975, 5) * math.sqrt(statistics.variance(values) * (1 / 6 + 1 / 2))
    found = applied.result["arms"]["main"]["test"]["accuracy"]
    assert found == {
        "mean": pytest.approx(mean),
        "low": pytest.approx(max(mean - half, 0)),
        "high": pytest.approx(min(mean + half, 1)),
        "n": 6,
    }


def test_a_second_apply_has_nothing_to_do(applied: api.Applied) -> None:
    again = api.apply(applied.folder.parents[1] / "toy.toml", runs=applied.folder.parent)
    assert not again.changed
    assert again.result == applied.result


def test_table_shows_the_accuracy_of_each_fold(applied: api.Applied, run: Cli) -> None:
    _, out, _ = run("apply", applied.folder.parents[1] / "toy.toml", "--runs", applied.folder.parent)
    for seed in SEEDS:
        shown = ", ".join(f"{runs_of(applied)[seed, fold]['test']['accuracy']:.1%}" for fold in range(1, FOLDS + 1))
        assert f"main, seed {seed}: accuracy {shown}" in out
    assert [line.split()[:3] for line in out.splitlines()[2:4]] == [["arm", "seeds", "folds"], ["main", "2", "3"]]


def test_validate_says_how_many_folds_there_are(applied: api.Applied, run: Cli) -> None:
    recipe = applied.folder.parents[1] / "toy.toml"
    assert "arms: main; 2 seeds, 3 folds each" in run("validate", recipe)[1]
    assert json.loads(run("validate", recipe, "--json")[1])["folds"] == FOLDS


def test_model_is_one_run_of_a_recipe_with_folds(applied: api.Applied, capsys: pytest.CaptureFixture[str]) -> None:
    model = tlkit.Model.from_recipe(applied.folder.parents[1] / "toy.toml", device="cpu")
    assert "fit trains on all training images" in capsys.readouterr().err
    assert len(model.fit(verbose=0)) == 1
    kept = tlkit.load(applied.folder / runs_of(applied)[0, 3]["folder"], device="cpu")
    assert kept.class_names == tuple(f"class{index}" for index in range(4))


def test_run_of_a_fold_is_read_by_predict_and_keeps_the_number_of_folds(applied: api.Applied) -> None:
    folder = applied.folder / runs_of(applied)[1, 2]["folder"]
    assert tomllib.loads((folder / "recipe.toml").read_text())["cross_validation"] == {"folds": FOLDS}
    images = np.zeros((2, 16, 16, 3), np.uint8)
    assert loading.load(folder, arm=None, device=torch.device("cpu")).predict(images).shape == (2, 4)
    assert run_choice.choose(applied.folder).folder.name in {run["folder"] for run in runs_of(applied).values()}


def test_epochs_trains_the_fold_that_is_asked_for(applied: api.Applied) -> None:
    plan = tlkit.plan(applied.folder.parents[1] / "toy.toml")["main"]
    assert plan.folds == FOLDS
    for fold in (None, 2):
        told = Notes()
        (epoch,) = tlkit.epochs(plan, seed=1, fold=fold, observer=told)
        assert epoch.test == runs_of(applied)[1, fold or 1]["test"]
        assert any("fold 1 of 3 is tested, and no other" in note for note in told.notes) == (fold is None)
    with pytest.raises(TlkitError, match="fold: is 4; there are 3"):
        next(tlkit.epochs(plan, fold=4))


def test_plan_says_which_images_are_tested(applied: api.Applied) -> None:
    plan = tlkit.plan(applied.folder.parents[1] / "toy.toml")["main"]
    assert (plan.images.train + plan.images.validation, plan.images.test) == (26, 14)
    (choice,) = (each for each in plan.choices if each.what == "test images")
    assert choice.value == "fold 1 of 3"
    assert choice.reason == "cross_validation; the data set's own test images (40) are not used"


def test_stopped_cross_validation_goes_on_with_the_folds_that_are_missing(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    toy_recipe.write_text(RECIPE.replace("seeds = [0, 1]", "seeds = [0]"))
    runs = toy_recipe.parent / "runs"

    with pytest.raises(KeyboardInterrupt):
        api.apply(toy_recipe, runs=runs, observer=Stops())
    assert len(list((runs / "toy").glob("main-s0-f*"))) == 1
    done = api.apply(toy_recipe, runs=runs)
    assert [run["status"] for run in runs_of(done).values()] == ["finished"] * FOLDS
    assert done.result["superseded"] == []


def test_recipe_without_folds_has_the_digest_that_it_had(toy_recipe: Path) -> None:
    def digests(*settings: str) -> set[str]:
        places = Places(recipe=toy_recipe.parent)
        read, arms = resolve.load(toy_recipe, settings, places)
        return {job.digest for job in jobs.plan_jobs(read, arms, places, runs=Path("runs"), where="r")}

    alone = digests()
    assert alone == {"38f5679d70d91450f1993dc1832ceb6a973204128a6c1f91a122a030f216f2bf"}
    assert digests("seeds=[0, 1]") == alone
    three, five = digests("cross_validation.folds=3"), digests("cross_validation.folds=5")
    assert len(alone | three | five) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["cross_validation.folds=1"], "folds: is 1, but should be greater than or equal to 2"),
        (["cross_validation.fold=5"], "fold: there is no such key"),
        (["cross_validation=5"], "cross_validation: is 5, but should be a table"),
        (["cross_validation.folds=5", "data.split.fractions=[0.6, 0.2, 0.2]"], "fractions: chooses test images, and so does"),
        (["cross_validation.folds=99"], "class class0 has 20 training images, for 99 folds"),
    ],
)
def test_folds_that_cannot_be_are_refused(toy_recipe: Path, settings: list[str], words: str) -> None:
    with pytest.raises(TlkitError) as caught:
        tlkit.plan(toy_recipe, settings)
    assert words in str(caught.value)


def test_run_on_the_same_images_is_no_beginning_for_a_cross_validation(toy_recipe: Path, applied: api.Applied) -> None:
    toy_recipe.write_text(RECIPE.replace('name = "toy"\n', 'name = "later"\n', 1))
    source = f"backbone.weights='run:{applied.folder}'"
    with pytest.raises(RecipeError, match="was trained on images of synthetic that the folds test") as refused:
        api.apply(toy_recipe, [source], runs=toy_recipe.parent)
    assert 'for instance weights = "none"' in str(refused.value), "the backbone has no others"
    places = Places(recipe=toy_recipe.parent)
    read, arms = resolve.load(toy_recipe, [source, "data.options.seed=1"], places)
    assert len(jobs.plan_jobs(read, arms, places, runs=Path("runs"), where="r")) == 6


# ---- what becomes of the parts of the data set


def draw(folder: Path, count: int) -> None:
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (16, 16), (80 * label, index, 0)).save(folder / name / f"{index}.png")


def facts(recipe: Path, *, fold: int) -> DataFacts:
    text = recipe.read_text()
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    recipe.write_text(text.replace(options, '[data.options]\npath = "images"\n').replace('"synthetic"', '"folder"'))
    places = Places(recipe=recipe.parent)
    _, arms = resolve.load(recipe, ["cross_validation.folds=2"], places)
    return dataset_facts.known(arms["main"], places, seed=0, classes=None, fold=fold)


def test_folds_hold_all_images_of_a_folder_without_test_images(toy_recipe: Path) -> None:
    """Without cross-validation a fifth of them would be held out as test images."""
    draw(toy_recipe.parent / "images", 10)
    known = facts(toy_recipe, fold=2)
    assert (known.images.train, known.images.validation, known.images.test) == (8, 2, 10)
    assert known.choices[0].reason == "cross_validation"


def test_own_test_images_are_in_no_fold_and_own_validation_images_stay(toy_recipe: Path) -> None:
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        draw(toy_recipe.parent / "images" / part, count)
    known = facts(toy_recipe, fold=1)
    assert (known.images.train, known.images.validation, known.images.test) == (10, 6, 10)
    assert known.choices[0].reason == "cross_validation; the data set's own test images (8) are not used"


# ---- the interval


def summary(folder: Path, accuracies: list[float], *, losses: list[float] | None = None) -> dict[str, Any]:
    """The metrics of a recipe's result.json for runs with these scores."""
    current = {}
    for seed, accuracy in enumerate(accuracies):
        run = run_folder.folder_of(folder, recipe="r", arm="a", seed=seed, fold=None, digest="0" * 64)
        run.mkdir(parents=True)
        current["a", seed, None] = run
        run_folder.write(
            run,
            run_folder.RunResult(
                recipe="r", arm="a", seed=seed, status="finished", digest="0" * 64, versions={},
                parameters=run_folder.Parameters(total=1, trained=1),
                test={"accuracy": accuracy, "loss": 1.0 if losses is None else losses[seed]},
            ),
        )  # fmt: skip
    return results.gather(folder / "r", results.Head("r", "r.toml"), current)["arms"]["a"]["test"]


@pytest.mark.parametrize("values", [[0.5], [0.25, 0.75]])
def test_fewer_than_three_runs_have_no_interval(tmp_path: Path, values: list[float]) -> None:
    """Of two runs Student's t is 12.7: 25 % and 75 % would be 50 % plus or minus 318."""
    assert summary(tmp_path, values)["accuracy"] == {"mean": 0.5, "low": None, "high": None, "n": len(values)}


def test_interval_ends_at_0_and_at_100_percent(tmp_path: Path) -> None:
    found = summary(tmp_path, [0.9, 0.99, 1.0], losses=[0.1, 2.0, 0.5])
    assert found["accuracy"]["high"] == 1.0
    half = student.ppf(0.975, 2) * statistics.stdev([0.9, 0.99, 1.0]) / math.sqrt(3)
    assert found["accuracy"]["low"] == pytest.approx(statistics.fmean([0.9, 0.99, 1.0]) - half)
    assert found["loss"]["low"] == 0.0
    assert found["loss"]["high"] > 1.0

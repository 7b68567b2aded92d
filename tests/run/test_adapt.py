"""[adapt]: which images of the target are used, what of them is read, and that what is computed is the method's own arithmetic."""

import copy
import csv
import dataclasses
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_domains
from conftest import ROOT, Cli
from pages import Page
from rich.console import Console
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from toy_domains import CLASSES
from toy_training import Training, training

from tlkit import api, file_digests, testing
from tlkit.compiler import solved_checks
from tlkit.engine import adapting
from tlkit.engine.domains import distances
from tlkit.errors import DataError, PluginError, RecipeError, TlkitError
from tlkit.events import Observer
from tlkit.network.network import Network
from tlkit.plans import adaptation, dataset_facts, target_copies
from tlkit.plans.adaptation import Adaptation
from tlkit.plugin import Adapter, Affine, Alignment, members, registry
from tlkit.recipe.domains import AdaptTable
from tlkit.record import domains as gained
from tlkit.record import report_data
from tlkit.reports import differences, domain_rows, plan_table
from tlkit.reports.page import arm_table, comparison, runs
from tlkit.run import domain_features, loading, stage_outputs
from tlkit_adapters import alignment

pytestmark = pytest.mark.usefixtures("undrawn")

CPU = torch.device("cpu")
RECIPE = toy_domains.recipe(
    head='[head]\nkind = "logistic"\noptions = { C = 0.1 }\n',
    data="batch_size = 8\nsplit = { validation = 0 }\n",
    adapt='method = "stats"\n',
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return toy_domains.write(tmp_path, RECIPE)


def read(mine: Training, part: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the head reads of a part (N, F), computed without the engine's store, and the labels."""
    network = mine.network.eval()
    with torch.no_grad():
        x = network.embed(part.inputs(part.indices, 0, CPU)).numpy()
    return x, part.targets(part.indices, 0, CPU).numpy()


def head(x: np.ndarray, y: np.ndarray) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5_000)).fit(x, y)


def test_stats_is_the_methods_arithmetic_on_both_domains(recipe: Path) -> None:
    mine = training(recipe)
    target = mine.prepared.evaluated.target
    assert (len(target.part.indices), len(target.labelled)) == (18, 0)
    (xs, ys), (xt, _) = read(mine, mine.prepared.train), read(mine, target.part)
    test_x, test_y = read(mine, mine.prepared.evaluated.also["dark"])
    assert len(test_y) == 18
    expected = head(alignment.stats(xs, xt).source(xs), ys)
    (epoch,) = mine.fit.epochs()
    assert epoch.also["dark"]["accuracy"] == pytest.approx(expected.score(test_x, test_y), abs=1 / 18)
    assert np.allclose(mine.network.head.estimator[-1].coef_, expected[-1].coef_, atol=1e-2)
    plain = training(recipe, 'adapt.method="none"')
    list(plain.fit.epochs())
    assert not np.allclose(plain.network.head.estimator[-1].coef_, expected[-1].coef_, atol=1e-2)


def test_labelled_images_beside_the_source_count_as_often_as_asked(recipe: Path) -> None:
    mine = training(recipe, 'adapt.method="none"', "adapt.labels_per_class=2", "adapt.label_weight=5")
    target = mine.prepared.evaluated.target
    (xs, ys), (xt, yt) = read(mine, mine.prepared.train), read(mine, target.part)
    assert np.bincount(yt).tolist() == [2, 2, 2]  # nothing else of the target is used
    x, y = np.concatenate([xs, xt]), np.concatenate([ys, yt])
    weight = np.repeat([1.0, 5.0], [len(ys), len(yt)])
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5_000))
    expected.fit(x, y, standardscaler__sample_weight=weight, logisticregression__sample_weight=weight)
    list(mine.fit.epochs())
    assert np.allclose(mine.network.head.estimator[-1].coef_, expected[-1].coef_, atol=2e-2)
    alone = training(recipe, 'adapt.method="none"', "adapt.labels_per_class=2", "adapt.source=false")
    list(alone.fit.epochs())
    again = training(recipe, 'adapt.method="none"', "adapt.labels_per_class=2", "adapt.source=false", "adapt.label_weight=1")
    list(again.fit.epochs())
    assert np.allclose(again.network.head.estimator[-1].coef_, head(xt, yt)[-1].coef_, atol=1e-2)
    assert np.allclose(again.network.head.estimator[0].mean_, alone.network.head.estimator[0].mean_, atol=1e-6)


def test_draws_depend_on_the_seed_and_larger_ones_hold_smaller_ones(recipe: Path) -> None:
    def chosen(labels: int, seed: int) -> tuple[list[int], list[int], list[int]]:
        record = training(recipe, f"adapt.labels_per_class={labels}", seed=seed).prepared.split
        return list(record["adapt"]["positions"]), list(record["adapt"]["labelled"]), list(record["also.dark"]["positions"])

    images, two, tested = chosen(2, 0)
    assert set(two) < set(chosen(4, 0)[1]) < set(images)
    assert not set(images) & set(tested)
    assert sorted(images + tested) == list(range(36))
    assert chosen(2, 0) == (images, two, tested)
    assert chosen(2, 1)[0] != images


@pytest.mark.parametrize(
    "settings", [(), ("adapt.pseudo_labels=true",), ('adapt.method="subspace"', "adapt.options.dimensions=4")]
)
def test_labels_of_the_target_change_no_bit_of_what_is_learned(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """The target's labels stand in a table, so that others leave its files and their order as they are."""
    toy_domains.pictures(tmp_path / "bright", 250)
    toy_domains.pictures(tmp_path / "dark", 90)
    files = sorted((tmp_path / "dark").glob("*/*.png"))
    heads = []
    for turn in (0, 1):
        with (tmp_path / "dark.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "part"])
            for number, path in enumerate(files):
                own = CLASSES.index(path.parent.name)
                writer.writerow(
                    [
                        f"dark/{path.parent.name}/{path.name}",
                        CLASSES[(own + turn * number) % 3],
                        "test" if number % 2 else "train",
                    ]
                )
        text = RECIPE.replace('name = "folder"\noptions = { path = "dark" }\nsplit = { per_class = 6 }', "").replace(
            "[also.dark]\n", '[also.dark]\nname = "csv"\noptions = { path = ".", file = "dark.csv", split = "part" }\n'
        )
        (tmp_path / "r.toml").write_text(text)
        mine = training(tmp_path / "r.toml", *settings)
        (epoch,) = mine.fit.epochs()
        steps = [each for _, each in mine.network.head.estimator.steps]
        heads.append(([vars(each) for each in steps[:-1]], steps[-1].coef_, steps[-1].intercept_, dict(epoch.also["dark"])))
    first, second = heads
    assert str(first[0]) == str(second[0])
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[2], second[2])
    assert first[3] != second[3]  # evaluation alone reads them


def test_transductive_images_are_all_of_the_target_and_the_plan_says_so(run: Cli, recipe: Path) -> None:
    mine = training(recipe, 'adapt.images="all"')
    assert list(mine.prepared.split["adapt"]["positions"]) == list(range(36))
    assert not mine.prepared.decoded.overlaps
    code, out, error = run("plan", "r.toml", "--set", 'adapt.images="all"')
    assert code == 0, error
    plain = " ".join(out.split())
    assert 'target: 36 images without labels ("dark", all images, those that are tested too: transductive)' in plain
    assert "adapt.labels_per_class = 3" in plain


def test_tested_images_that_are_adapted_to_are_told(run: Cli, recipe: Path) -> None:
    for name in CLASSES:  # each picture twice: a draw of 6 of 12 parts some pairs
        for index in range(6):
            shutil.copy(recipe.parent / "dark" / name / f"{index}.png", recipe.parent / "dark" / name / f"{index + 6}.png")
    code, out, error = run("plan", "r.toml")
    assert code == 0, error
    assert "also.dark images are identical to images of the target that are adapted to" in " ".join(out.split())


def test_what_is_stored_of_the_target_is_computed_once(recipe: Path) -> None:
    class Counting(Observer):
        def __init__(self) -> None:
            self.computed = 0

        def storing(self, done: int, total: int) -> None:
            self.computed = max(self.computed, 0) + (done == total) * total

    counts = []
    for settings in (
        ['adapt.method="none"'],
        ["adapt.method=coral"],
        ["adapt.method=stats", 'adapt.images="all"', "adapt.pseudo_labels=true"],
    ):
        observer = Counting()
        mine = training(recipe, *settings, observer=observer)
        list(mine.fit.epochs())
        counts.append(observer.computed)
    assert counts[1] == 18  # the target's training part; the source and the tested images are there
    assert counts[2] == 0


@pytest.mark.parametrize("method", ["subspace", "stats"])
def test_a_head_is_kept_with_the_map_of_the_target(run: Cli, recipe: Path, method: str) -> None:
    from tlkit.exports import solved_heads

    code, _, error = run("apply", "r.toml", "--set", f"adapt.method={method}", "--set", "adapt.pseudo_labels=confident")
    assert code == 0, error
    (folder,) = (recipe.parent / "runs" / "adapted").glob("main-*")
    result = json.loads((folder / "result.json").read_text())
    assert (result["adapt"]["target"], result["adapt"]["method"]) == ("dark", method)
    files = json.loads((folder / "split.json").read_text())["also.dark"]["files"]
    predictor = loading.load(folder, arm=None, device=CPU)
    found = predictor.predict(files)
    labels = [CLASSES.index(Path(file).parent.name) for file in files]
    assert result["also"]["dark"]["accuracy"] == (found.argmax(1) == labels).mean()
    kept = predictor.network.head
    x = torch.randn(5, kept.estimator[0].n_features_in_)
    assert torch.allclose(solved_heads.module(kept, "")(x), kept(x), atol=1e-5)
    assert "nothing to do" in "".join(
        run("apply", "r.toml", "--set", f"adapt.method={method}", "--set", "adapt.pseudo_labels=confident")[1:]
    )


MMD = {"head.kind": "linear", "lr_groups.head": 1e-2, "lr_groups.backbone": 1e-2, "adapt.method": "mmd"}
STEPS = ["head.kind=linear", "lr_groups.head=1e-2", "freeze.backbone=true"]
WRONG = [
    (["adapt.target=drak"], "adapt.target: there is no data set also.drak.", 'did you mean "dark"?'),
    (["adapt.method=corl"], 'adapt.method: there is no adapter "corl" installed.', 'did you mean "coral"?'),
    (["adapt.options.ridge=1.0"], "adapt.options: this plugin has no options, and is given ridge.", ""),
    (["adapt.method=coral", "adapt.options.rigde=1.0"], "adapt.options.rigde: there is no such key.", 'did you mean "ridge"?'),
    (["adapt.labels_per_class=7"], "adapt.labels_per_class: is 7, and the training part of dark has 6 images of each class.", ""),
    (["adapt.source=false"], "adapt.source: is false, and no target image has a label", "adapt.labels_per_class = 3"),
    (["adapt.source=false", "adapt.labels_per_class=3"], "adapt.source: is false, and stats adapts source images to the target.", ""),
    (STEPS, "stats aligns the features of a frozen network once", 'head.kind = "logistic"'),
    ([*STEPS, 'adapt.method="none"', "adapt.labels_per_class=2", "adapt.source=false"], "adapt.source: is false, which only a solved", ""),
    ([*STEPS, "adapt.method=mmd", 'data.augment=["mixup"]'], "mmd compares images of both domains, and data.augment mixes", "mixup and cutmix"),
    (["adapt.pseudo_labels=prototype"], 'adapt.pseudo_labels: is "prototype".', 'did you mean "prototypes"?'),
    (["also.dark.split.per_clas=3"], "also.dark.split.per_clas: there is no such key.", "per_class"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "words", "hint"), WRONG, ids=[each[1][:40] for each in WRONG])
def test_a_mistake_in_the_table_is_named(run: Cli, recipe: Path, settings: list[str], words: str, hint: str) -> None:
    code, _, error = run("validate", "r.toml", *[part for each in settings for part in ("--set", each)])
    assert code == 1
    plain = " ".join(error.split())
    assert words in plain
    assert hint in plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"also.dark.split.per_class": 12},
            "also.dark.split.per_class: is 12, and no image is left to test. also.dark.split.per_class = 11, or more",
        ),
        ({"also.dark.split.per_class": 13}, "also.dark.split.per_class: is 13, and class blue has 12 images there."),
        ({"also.dark.options.path": '"bright"'}, "adapt.target: dark has the same images as the source."),
        ({"also.dark.options.path": '"copies"'}, "adapt.target: dark has the same images as the source."),
        ({"also.dark.options.path": '"some"'}, "adapt.target: all 33 images of dark are among the 36 of the source."),
        ({"also.dark.options.path": '"nearly"'}, "adapt.target: 33 of 36 images of dark are those of the source."),
        (
            {"also.dark.options.path": '"violet"'},
            "also.dark: folder has classes that are not trained on: violet. classes that are: blue, green, red a copy of folder",
        ),
        (
            {**MMD, "adapt.labels_per_class": 6},
            'adapt.labels_per_class: every image of dark that is used has a label, and mmd needs others. adapt.images = "all"',
        ),
        (
            {"adapt.pseudo_labels": "true", "adapt.labels_per_class": 6},
            "adapt.labels_per_class: every image of dark that is used has a label, and adapt.pseudo_labels gives labels to others.",
        ),
        (
            {"also.dark.name": "csv", "also.dark.options": '{ file = "several.csv", path = ".", label = "label", split = "part", separator = ";" }'},
            "also.dark: has any number of classes per image; the images that are trained on have one class per image. another data set",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_images_that_cannot_be_adapted_to_are_named(
    run: Cli, recipe: Path, change: dict[str, Any], words: str, command: str
) -> None:
    shutil.copytree(recipe.parent / "bright", recipe.parent / "copies")
    shutil.copytree(recipe.parent / "bright", recipe.parent / "some", ignore=shutil.ignore_patterns("3.png"))
    shutil.copytree(recipe.parent / "bright", recipe.parent / "nearly")
    for name in CLASSES:
        shutil.copy(recipe.parent / "dark" / name / "3.png", recipe.parent / "nearly" / name / "3.png")
    shutil.copytree(recipe.parent / "dark" / "green", recipe.parent / "violet" / "violet")
    shutil.copytree(recipe.parent / "dark" / "red", recipe.parent / "violet" / "red")
    lines = [
        "path,label,part",
        *(f"dark/{name}/{at}.png,{name},{'test' if at % 2 else 'train'}" for name in CLASSES for at in range(12)),
    ]
    (recipe.parent / "several.csv").write_text("\n".join([*lines, "bright/red/0.png,red;blue,test"]))
    code, _, error = run(command, "r.toml", *[part for key, value in change.items() for part in ("--set", f"{key}={value}")])
    assert code == 1
    assert f"r.toml: {words}" in " ".join(error.split())
    assert not (recipe.parent / "runs").exists()


def test_copies_too_large_to_be_read_are_left_to_apply_and_the_plan_says_so(
    run: Cli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(recipe.parent / "bright", recipe.parent / "copies")
    monkeypatch.setattr(dataset_facts, "_READ", 1000.0)
    monkeypatch.setattr(file_digests, "_RACY", 0)  # nanoseconds for which a new file may change unseen
    compared, of = [], target_copies.copies
    monkeypatch.setattr(target_copies, "copies", lambda *given, **more: compared.append(given) or of(*given, **more))
    with (recipe.parent / "r.toml").open("a") as file:
        file.write("\n[arms.one]\n[arms.two]\nhead.options.C = 1.0\n")
    command = ("plan", "r.toml", "--set", 'also.dark.options.path="copies"')
    code, out, error = run(*command)
    assert code == 0, error
    assert len(compared) == 1, "for all arms"
    assert re.search(r"files of dark have the sizes of the source's; apply reads them \([\d.]+ KB\)", " ".join(out.split()))
    list(members.digests(sorted(recipe.parent.glob("*/*/*.png"))))
    code, _, error = run(*command)
    assert code == 1, "what is remembered is not read again"
    assert "dark has the same images as the source" in error


def test_a_target_of_links_to_the_source_is_refused_by_its_paths_alone(run: Cli, recipe: Path) -> None:
    folder = recipe.parent
    shutil.copytree(folder / "bright", folder / "links")
    for link in folder.glob("links/*/*.png"):
        link.unlink()
        link.symlink_to(folder / "bright" / link.relative_to(folder / "links"))
    (folder / "linked").symlink_to("bright")
    for name in ("links", "linked"):
        code, _, error = run("plan", "r.toml", "--set", f"also.dark.options.path={name}")
        assert code == 1
        assert "adapt.target: dark has the same images as the source." in " ".join(error.split())


def test_source_and_target_are_compared_once_and_each_folder_is_looked_up_once(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, looked_up = [], []
    monkeypatch.setattr(
        target_copies, "_every_file", lambda images, of=target_copies._every_file: compared.append(images) or of(images)
    )
    monkeypatch.setattr(
        os.path, "realpath", lambda path, of=os.path.realpath, **more: looked_up.append(path) or of(path, **more)
    )
    training(recipe, seed=0)
    assert [Path(path) for path in looked_up if str(path).endswith(".png")] == []
    assert len(compared) == 2
    training(recipe, seed=1)
    assert len(compared) == 2


def test_a_class_that_the_target_lacks_is_told_where_the_method_counts_on_it(run: Cli, recipe: Path) -> None:
    shutil.rmtree(recipe.parent / "dark" / "green")
    words = "adapt.target: dark has no image of green, and stats takes it that both domains have the same classes"
    assert words in " ".join(run("plan", "r.toml")[1].split())
    assert words not in " ".join(run("plan", "r.toml", "--set", 'adapt.method="none"')[1].split())
    assert run("apply", "r.toml")[0] == 0


def test_a_method_that_moves_features_is_of_no_use_with_a_frozen_backbone(recipe: Path) -> None:
    words = (
        "adapt.method: mmd works by training what the head reads, and the whole backbone is frozen: it does nothing, or harm"
    )
    method = ["head.kind=linear", "head.options={}", "lr_groups={backbone=1e-2, head=1e-2}", "adapt.method=mmd"]
    assert words in training(recipe, *method, "freeze.backbone=true").plan.warnings
    assert words not in training(recipe, *method).plan.warnings
    assert (
        words.replace("mmd", "mcc")
        not in training(recipe, *method[:3], "adapt.method=mcc", "freeze.backbone=true").plan.warnings
    )


def test_replaced_statistics_are_kept_only_where_batch_norm_does_not_train(recipe: Path) -> None:
    method = ["head.kind=linear", "head.options={}", "lr_groups={backbone=1e-2, head=1e-2}", "adapt.method=adabn"]

    def warned(*settings: str) -> bool:
        return any("soon has those of the source again" in line for line in training(recipe, *method, *settings).plan.warnings)

    assert warned()
    assert not warned("freeze.backbone=true")
    assert not warned("backbone.batch_norm=running")


def test_arms_that_name_a_method_keep_the_rest(
    run: Cli, recipe: Path, undrawn: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", undrawn)
    monkeypatch.setenv("COLUMNS", "250")
    arms = '[arms.source_only]\nadapt.method = "none"\n[arms.coral]\nadapt = { method = "coral", options = { ridge = 1.0 } }\n'
    few = '[arms.few]\nadapt = { method = "none", labels_per_class = 3 }\n[arms.target_trained]\n'
    few += 'adapt = { method = "none", source = false, labels_per_class = 6 }\n'
    recipe.write_text(
        'baseline = "source_only"\n'
        + recipe.read_text().replace('method = "stats"', 'method = "subspace"\noptions = { dimensions = 4 }')
        + arms
        + few
    )
    code, out, error = run("apply", "r.toml")
    assert code == 0, error
    record = json.loads((recipe.parent / "runs" / "adapted" / "result.json").read_text())["arms"]
    assert {name: arm["adapt"]["method"] for name, arm in record.items()} == {
        "source_only": "none",
        "coral": "coral",
        "few": "none",
        "target_trained": "none",
    }
    accuracy = {name: arm["also"]["dark"]["accuracy"]["mean"] for name, arm in record.items()}
    images = json.loads(next((recipe.parent / "runs" / "adapted").glob("few-*/split.json")).read_text())["also.dark"]["count"]
    (compared,) = record["few"]["difference"]["runs"]  # on the target, not on the test images of the source
    assert compared["images"] == images
    assert compared["difference"] == pytest.approx(accuracy["few"] - accuracy["source_only"])
    assert "against source_only, dark (points)" in " ".join(out.split())
    report = (recipe.parent / "runs" / "adapted" / "report.html").read_text()
    of_classes = json.loads(next((recipe.parent / "runs" / "adapted").glob("few-*/evaluation.json")).read_text())
    recalls = [of_classes[part]["per_class"]["red"]["recall"] for part in ("test", "also.dark")]
    assert '<th scope="row">red</th><td>{:.1%}</td><td>{:.1%}</td>'.format(*recalls) in report
    shown = runs.by_arm(runs.read(runs.find([recipe.parent / "runs" / "adapted"])))  # the page has the same differences
    cells = {
        row.name: dict(zip(arm_table.columns(shown, "source_only"), row.cells, strict=True))
        for row in arm_table.rows(shown, "source_only")
    }
    for name in ("coral", "few"):
        assert cells[name]["against source_only, dark (points)"] == differences.short(record[name]["difference"])
        assert cells[name]["dark accuracy, the target"] == f"{accuracy[name]:.1%}"
    words = comparison.sentence(shown, "source_only")
    assert "test images of the source" in words
    assert f"{accuracy[shown[0].name]:.1%} on those of dark, the target" in words
    assert "on the same images of dark" in words or shown[0].name == "source_only"
    trained_on_all = {"test": None, "validation": None}  # as where every image of the source is trained on
    blind = [
        runs.ShownArm(
            arm.name, [dataclasses.replace(one, result=one.result.model_copy(update=trained_on_all)) for one in arm.runs]
        )
        for arm in shown
    ]
    words = comparison.sentence(blind, "source_only")
    assert words.startswith(
        f"{blind[0].name} has {accuracy[blind[0].name]:.1%} accuracy on the test images of dark, the target. "
    )
    assert "nan" not in "".join([words, *(cell for row in arm_table.rows(blind) for cell in row.cells)])
    low, high = accuracy["source_only"], accuracy["target_trained"]
    if high > low:
        assert record["coral"]["adapt"]["gap"]["closed"] == pytest.approx((accuracy["coral"] - low) / (high - low))
        assert "adapt      coral, dark: closes" in out
        assert "<li>coral, dark: closes" in report


def test_an_ensemble_of_adapted_arms_is_tested_on_the_target(run: Cli, recipe: Path) -> None:
    arms = '[arms.stats]\n[arms.coral]\nadapt.method = "coral"\n[ensemble]\nmembers = ["stats", "coral"]\n'
    recipe.write_text(recipe.read_text() + arms)
    code, _, error = run("apply", "r.toml")
    assert code == 0, error
    folder = recipe.parent / "runs" / "adapted"
    runs = [next(folder.glob(f"{name}-s0-*")) for name in ("stats", "coral")]
    files = json.loads((runs[0] / "split.json").read_text())["also.dark"]["files"]
    labels = [CLASSES.index(Path(file).parent.name) for file in files]
    mean = sum(loading.load(each, arm=None, device=CPU).predict(files) for each in runs)
    (combined,) = json.loads((folder / "result.json").read_text())["ensembles"]
    assert combined["test"]["accuracy"]["mean"] == pytest.approx((mean.argmax(1) == labels).mean())


def arm(target: float, **table: Any) -> dict[str, Any]:
    usual = {
        "target": "art",
        "method": "none",
        "images": "train",
        "labels_per_class": 0,
        "source": True,
        "pseudo_labels": False,
    }
    return {"seeds": {"0": {"adapt": usual | table}}, "also": {"art": {"accuracy": {"mean": target}}}}


def test_the_gap_closed_is_of_target_trained_minus_source_only() -> None:
    arms = {
        "plain": arm(0.5),
        "coral": arm(0.6, method="coral"),
        "whole": arm(0.9, source=False, labels_per_class=20),
        "few": arm(0.7, labels_per_class=3),
    }
    gained.add_(arms)
    assert arms["coral"]["adapt"]["gap"] == {
        "source_only": "plain", "target_trained": "whole", "closed": pytest.approx(0.25),
        "low": None, "high": None, "why_no_interval": "fewer than three seeds",
    }  # fmt: skip
    assert arms["few"]["adapt"]["gap"]["closed"] == pytest.approx(0.5)
    assert "gap" not in arms["plain"]["adapt"]
    assert gained.labels_are_worth_more(arms) == ("few", "coral")
    for name in ("plain", "coral"):  # each may be the best without labels
        before, arms[name]["also"]["art"]["accuracy"]["mean"] = arms[name]["also"]["art"]["accuracy"]["mean"], 0.8
        assert gained.labels_are_worth_more(arms) is None
        arms[name]["also"]["art"]["accuracy"]["mean"] = before
    arms["other"] = arm(0.8, method="coral")
    arms["other"]["seeds"]["0"]["adapt"]["target"] = "photo"
    arms["other"]["also"] = {"photo": {"accuracy": {"mean": 0.8}}}
    gained.add_(arms)
    assert gained.labels_are_worth_more(arms) == ("few", "coral"), "one of another target says nothing of this one"
    arms["again"] = arm(0.4)  # of two arms of the source alone it is not known which one counts
    gained.add_(arms)
    assert "gap" not in arms["again"]["adapt"]


def test_the_gap_closed_has_an_interval_over_three_seeds_and_says_why_where_it_has_none() -> None:
    def over(accuracies: list[float], **table: Any) -> dict[str, Any]:
        made = arm(float(np.mean(accuracies)), **table)
        (run,) = made["seeds"].values()
        more = {
            seed: {"seed": seed, "status": "finished", "also": {"art": {"accuracy": each}}}
            for seed, each in enumerate(accuracies)
        }
        return made | {"seeds": {str(seed): run | each for seed, each in more.items()}}

    def line(plain: list[float], coral: list[float], whole: list[float]) -> str:
        arms = {
            "plain": over(plain),
            "coral": over(coral, method="coral"),
            "whole": over(whole, source=False, labels_per_class=20),
        }
        gained.add_(arms)
        return next(domain_rows.notes(arms))

    low, mine, high = [0.50, 0.52, 0.51], [0.60, 0.61, 0.62], [0.70, 0.71, 0.73]
    ends = (0.35, 0.65)  # by eye: p of the paired t-test passes 0.05 between these and the middle
    for ratio in ends:
        assert stats.ttest_rel(np.subtract(mine, low), ratio * np.subtract(high, low)).pvalue < 0.05
    found = re.fullmatch(
        r"adapt      coral, art: closes 49% \((\d+)% to (\d+)%\) of the gap between plain and whole", line(low, mine, high)
    )
    assert 35 < int(found[1]) < 49 < int(found[2]) < 65
    between = "of the gap between plain and whole; no interval:"
    assert line(low[:2], mine[:2], high[:2]).endswith(f"closes 49% {between} fewer than three seeds")
    assert line(low[:2], mine, high).endswith(f"{between} the arms have runs of different seeds")
    for same in (np.zeros(3), np.array([0.0, 0.1, 0.2])):
        found = line((0.5 + same).tolist(), (0.6 + same).tolist(), (0.7 + same).tolist())
        assert found.endswith(f"{between} the part is the same in every seed")
    assert line([0.5, 0.8, 0.6], mine, high).endswith(f"{between} over these seeds the gap may be none")


def test_one_image_of_a_domain_and_maps_that_cannot_be_used_are_named() -> None:
    features = np.zeros((4, 3), np.float32)
    table = AdaptTable(target="dark", method="stats")
    source = adapting.Rows(features, np.arange(4), None)
    target = adapting.TargetRows(features[:1], np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(DataError, match="adapt: the target has 1 image, of which there are no statistics"):
        adapting.fit(adaptation.look_up(table), source, target, lambda *_: pytest.fail("never fitted"))
    broken = Adaptation(table, Adapter(solve=f"{__name__}:narrow"), None)
    with pytest.raises(PluginError, match="narrow: gives source images 3 features and target images 2"):
        adapting.fit(broken, source, dataclasses.replace(target, features=features), lambda *_: pytest.fail("never fitted"))


def test_a_plan_without_the_source_says_what_the_head_is_fitted_to(recipe: Path) -> None:
    plan = training(recipe, "adapt.method=none", "adapt.source=false", "adapt.labels_per_class=3").plan
    assert (plan.images.train, plan.images.labelled) == (0, 9)
    console = Console(width=200)
    with console.capture() as printed:
        console.print(plan_table.plan(plan))
    assert "train 9 of dark alone, validation 0" in printed.get()
    (why,) = (each.reason for each in plan.choices if each.value == "solved once")
    assert why == "logistic is fitted on the embeddings of the labelled images of dark alone: the source is left out"
    assert all(each.reason for each in plan.choices)
    assert not any(each.what == "fixed prefix, training images" for each in plan.choices)  # none of [data] is trained on


def test_images_of_a_source_that_is_left_out_do_not_pass_the_network(recipe: Path) -> None:
    counted: list[int] = []

    class Counted(Observer):
        def storing(self, done: int, total: int) -> None:
            counted.extend([total] if done == total else [])

    mine = training(recipe, "adapt.method=none", "adapt.source=false", "adapt.labels_per_class=3", observer=Counted())
    list(mine.fit.epochs())
    assert sum(counted) == 9 + 18 + 6  # labelled and tested images of the target, and tested ones of the source


def test_images_of_the_source_in_low_resolution_are_a_target(recipe: Path) -> None:
    """The same files, which without `shrink` are refused."""
    low = 'also.dark={name="folder", options={path="bright"}, shrink=4, split={per_class=6}}'
    mine = training(recipe, low, observer=Observer())
    target = mine.prepared.evaluated.target
    assert target.part.pictures.geometry.shrink == 4
    list(mine.fit.epochs())


def test_labels_of_sure_images_need_probabilities(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = 'adapt.pseudo_labels: "confident" needs probabilities, and the head gives none.'
    for more in ("head.options.C=0.01", "head.options.kernel=rbf"):  # as it is, and searched
        with pytest.raises(RecipeError, match=f"{words}\n  pseudo_labels"):
            api.plan(recipe, ["head.kind=svm", "head.options={}", more, "adapt.pseudo_labels=confident"])
    monkeypatch.setattr(solved_checks, "problems", lambda *_: ())  # of an estimator that is known only when it is fitted
    mine = training(recipe, "head.kind=svm", "head.options.C=0.01", "adapt.pseudo_labels=confident")
    with pytest.raises(TlkitError, match=words):
        list(mine.fit.epochs())


@pytest.mark.parametrize(
    ("adapt", "images"),
    [((), 30), (("labels_per_class=1",), 30 + 3 * 20), (("labels_per_class=1", "source=false", "method=none"), 3 * 20)],
)
def test_a_plan_refuses_more_neighbours_than_images(recipe: Path, adapt: tuple[str, ...], images: int) -> None:
    more = ["head.kind=knn", *(f"adapt.{each}" for each in adapt)]
    with pytest.raises(RecipeError, match=f"head.options.neighbors: {images + 1} of {images} training images"):
        api.plan(recipe, [*more, f"head.options={{neighbors={images + 1}}}"])
    list(training(recipe, *more, f"head.options={{neighbors={images}}}").fit.epochs())


def narrow(source: np.ndarray, target: np.ndarray, options: object) -> Alignment:
    return Alignment(Affine(np.ones(3), np.zeros(3)), Affine(np.ones((3, 2)), np.zeros(2)))


def test_the_adapter_of_the_page_is_short_and_adapts(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [each for each in Page(ROOT / "docs" / "plugins.md").blocks if each.marker.startswith("plugin: tlkit_shift")]
    site = recipe.parent / "site"
    (site / "tlkit_shift-1.0.dist-info").mkdir(parents=True)
    (site / "tlkit_shift-1.0.dist-info" / "entry_points.txt").write_text("[tlkit.adapters]\nshift = tlkit_shift:shift\n")
    for block in blocks:
        (site / block.marker.removeprefix("plugin: ")).write_text(block.text)
    assert sum(len(block.text.splitlines()) for block in blocks) < 40
    monkeypatch.syspath_prepend(site)
    registry.scan.cache_clear()
    try:
        assert list(testing.check("shift")) == ["maps 8 features of both domains to 8"]
        mine = training(recipe, "adapt.method=shift", "adapt.options.part=0.5")
        (xs, ys), (xt, _) = read(mine, mine.prepared.train), read(mine, mine.prepared.evaluated.target.part)
        list(mine.fit.epochs())
        expected = head(xs + 0.5 * (xt.mean(0) - xs.mean(0)), ys)
        assert np.allclose(mine.network.head.estimator[0].mean_, expected[0].mean_, atol=1e-3)
        assert mine.plan.tables.adapt.options == {"part": 0.5}
    finally:
        registry.scan.cache_clear()
        for name in ("tlkit_shift", "tlkit_shift_code"):
            sys.modules.pop(name, None)


def test_each_score_names_the_epoch_that_it_would_have_chosen() -> None:
    lines = [
        {
            "epoch": epoch,
            "validation": {"loss": loss, "accuracy": validation},
            "target": {"entropy": entropy, "snd": snd},
            "also": {"art": {"loss": 1.0, "accuracy": accuracy}},
        }
        for epoch, loss, validation, entropy, snd, accuracy in (
            (1, 0.9, 0.8, 0.7, 1.0, 0.3),
            (2, 0.5, 0.9, 0.6, 2.0, 0.5),
            (3, 0.4, 0.9, 0.2, 2.0, 0.4),
            (4, 0.4, 0.9, 0.3, 1.5, 0.6),
        )
    ]
    found = gained.epoch_choices(lines, "art", select_by="entropy")
    assert [(each.by, each.epoch, each.accuracy) for each in found] == [
        ("entropy", 3, 0.4),
        ("snd", 3, 0.4),  # as good as the second, with less loss
        ("validation", 3, 0.4),
        ("oracle", 4, 0.6),
    ]
    late = [{**line, "also": {}} for line in lines]  # the target was evaluated once, at the end
    assert [(each.by, each.accuracy) for each in gained.epoch_choices(late, "art", select_by="accuracy")] == [
        ("entropy", None),
        ("snd", None),
        ("validation", None),
    ]
    assert gained.epoch_choices([], "art", select_by="accuracy") == []


def test_distances_after_are_of_mapped_features_and_are_made_again_where_their_file_is_lost(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen stages stay; the last one is compared as the head reads it, against the method's own arithmetic."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    found = []
    for _ in range(2):
        api.apply(recipe, runs=tmp_path / "kept")
        (folder,) = tmp_path.glob("kept/adapted/main-*")
        found.append(json.loads((folder / "result.json").read_text())["domains"])
        (folder / report_data.FILE).unlink()
    assert found[0] == found[1]
    assert found[0]["stages"]
    *others, last = found[0]["stages"].values()
    assert all(stage["before"] == stage["after"] for stage in others)
    mine = training(recipe)
    evaluated = mine.prepared.evaluated
    every = [read(mine, part)[0] for part in (mine.prepared.train, evaluated.target.part)]
    maps = alignment.stats(*every)
    assert evaluated.test is not None
    source, target = read(mine, evaluated.test)[0], read(mine, evaluated.also["dark"])[0]
    assert last["before"] == pytest.approx(distances.between(source, target), rel=1e-3, abs=1e-5)
    assert last["after"] == pytest.approx(distances.between(maps.source(source), maps.target(target)), rel=1e-3, abs=1e-5)
    assert last["after"]["mmd"] < last["before"]["mmd"] / 2


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Affine(np.ones(8), np.zeros(8)), "gave Affine, not a tlkit.plugin.Alignment"),
        (Alignment(Affine(np.ones(8), np.zeros(8)), Affine(np.ones(7), np.zeros(7))), "its map of target features cannot be used"),
        (Alignment(Affine(np.ones(8), np.zeros(8)), Affine(np.eye(8, 7), np.zeros(7))), "gives source images 8 features and target images 7"),
        (Alignment(Affine(np.ones(8), np.full(8, np.nan)), Affine(np.ones(8), np.zeros(8))), "gives numbers that are not finite"),
        (Alignment(Affine(np.ones(8), np.zeros((1, 1, 8))), Affine(np.ones(8), np.zeros(8))), "source features gives (1, 3, 8) for (3, 8)"),
    ],
    ids=["no maps", "of other features", "to two spaces", "not finite", "of no rows"],
)  # fmt: skip
def test_a_plugin_is_held_to_the_maps_that_a_run_takes(made: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit_adapters.solve.stats", lambda *_: made)
    with pytest.raises(PluginError, match=re.escape(said)):
        list(testing.check_adapter(Adapter(solve="tlkit_adapters.solve:stats")))


def test_stages_that_did_not_change_are_computed_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[object] = []
    monkeypatch.setattr(
        domain_features,
        "features",
        lambda network, *rest, of=domain_features.features, **more: passed.append(network) or of(network, *rest, **more),
    )
    mine = training(recipe)
    parts = mine.prepared.evaluated
    assert parts.test is not None

    def collected(best: Network) -> dict[str, Any]:
        passed.clear()
        about = domain_features.collect(
            parts.test, parts.also["dark"], start=mine.network, best=best, count=100, names=CLASSES, device=CPU
        ).about
        stages: dict[str, Any] = about["stages"]
        return stages

    best = copy.deepcopy(mine.network)
    stages = collected(best)
    assert passed == [mine.network, mine.network]
    assert all(each["before"] == each["after"] is not None for each in stages.values())
    next(best.stages.buffers())[0] += 1  # as AdaBN does
    changed = collected(best)
    assert passed == [mine.network, mine.network, best, best]
    assert any(each["before"] != each["after"] for each in changed.values())
    assert [each["before"] for each in changed.values()] == [each["before"] for each in stages.values()]


def test_another_arm_on_the_same_network_compares_the_domains_without_a_pass(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = training(recipe)
    parts, passed = mine.prepared.evaluated, list[object]()
    assert parts.test is not None
    monkeypatch.setattr(
        stage_outputs, "pooled", lambda network, x, of=stage_outputs.pooled: passed.append(len(x)) or of(network, x)
    )

    def collected() -> dict[str, Any]:
        passed.clear()
        about: dict[str, Any] = domain_features.collect(
            parts.test, parts.also["dark"], start=mine.network, best=mine.network, count=100, names=CLASSES, device=CPU,
            resolved=mine.prepared.job.resolved,
        ).about  # fmt: skip
        return about

    first = collected()
    assert [count for count in passed if count > 1]
    assert collected() == first
    assert not [count for count in passed if count > 1]  # one black picture tells the widths
    plain = domain_features.features(mine.network, parts.test, parts.test.indices, device=CPU)
    kept = domain_features.features(
        mine.network, parts.test, parts.test.indices, device=CPU, resolved=mine.prepared.job.resolved
    )
    for name, rows in plain.items():
        assert np.allclose(kept[name], rows, atol=1e-5)


def test_domains_that_cannot_be_compared_are_a_note(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory\nwith a trace")

    monkeypatch.setattr(domain_features, "features", fails)
    mine = training(recipe)
    parts = mine.prepared.evaluated
    assert parts.test is not None
    data = domain_features.collect(
        parts.test, parts.also["dark"], start=mine.network, best=mine.network, count=100, names=CLASSES, device=CPU
    )
    assert data.about["stages"] == {}
    assert "map" not in data.about
    (note,) = data.about["notes"]
    assert note.startswith("the domains are not compared: ")
    assert "out of memory" in note

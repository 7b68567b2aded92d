"""apply: what it leaves on disk, that what it says is so, and when there is nothing to do."""

import json
import math
import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_runs
from conftest import TOY, TOY_RECIPE, Cli, python_path
from PIL import Image
from safetensors.torch import load_file
from tlkit_toy_build import ToyNet

from tlkit import api, plugin
from tlkit.engine.images import being_decoded
from tlkit.errors import TlkitError
from tlkit.network import device_memory
from tlkit.plugin import DataFiles, Dataset, registry

pytestmark = pytest.mark.usefixtures("undrawn")

ARMS = """
[arms.finetune]
[arms.head_only]
freeze = { backbone = true }
"""
FILES = {
    "recipe.toml", "resolved.toml", "plan.json", "split.json", "metrics.jsonl", "weights.safetensors", "result.json",
    "evaluation.json", "predictions.npz", "report.npz", "checkpoint", ".lock",
}  # fmt: skip
TOTAL = 3 * 8 * 9 + 2 * 8 + 8 * 8 * 9 + 2 * 8 + 8 * 16 * 9 + 2 * 16 + 16 * 4 + 4  # ToyNet's scalars, layer by layer
SEEDS = (0, 1, 2)


def test_seeds_of_an_arm_share_the_batch_size_that_auto_came_to(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 5_000_000
    monkeypatch.setattr(device_memory, "usable_memory", lambda device: free)
    settings = ["data.batch_size=auto", "data.options.train=240", "schedule.epochs=1"]
    sizes = []
    for seeds in ("[0]", "[0, 1, 2]"):
        done = api.apply(toy_recipe, [*settings, f"seeds={seeds}"], runs=toy_recipe.parent / "runs")
        for run in done.result["arms"]["main"]["seeds"].values():
            sizes.append(tomllib.loads((done.folder / run["folder"] / "resolved.toml").read_text())["batch_size"])
        free = 3_000_000
    assert len(sizes) == 4
    assert len(set(sizes)) == 1
    other = api.apply(toy_recipe, [*settings, "seeds=[3]"], runs=toy_recipe.parent / "elsewhere")
    run = other.result["arms"]["main"]["seeds"]["3"]
    assert tomllib.loads((other.folder / run["folder"] / "resolved.toml").read_text())["batch_size"] != sizes[0]


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a recipe of two arms and three seeds; tests only read it."""
    folder = tmp_path_factory.mktemp("applied")
    text = TOY_RECIPE.replace('name = "toy"\n', 'name = "toy"\nseeds = [0, 1, 2]\n', 1) + ARMS
    with toy_runs.applied(folder, text, drawn=True) as done:
        yield done.folder


def _result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def _metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _runs(recipe_folder: Path) -> list[Path]:
    return sorted(path.parent for path in recipe_folder.glob("*/result.json"))


def _toy_images(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The toy recipe's images (N, 3, 16, 16) as its weights want them, and labels; worked out without the engine."""
    dataset = registry.get(Dataset, "synthetic")
    options = dataset.options.model_validate({"classes": 4, "train": 80, "test": 40, "size": 16})
    part = plugin.call(dataset.read, DataFiles(Path(), ()), options).splits[split]
    x = torch.from_numpy(part.pixels.astype(np.float32)) / 255
    return ((x - 0.5) / 0.5).permute(0, 3, 1, 2), torch.from_numpy(part.targets)


def test_every_arm_and_seed_has_a_folder_of_its_own(applied: Path) -> None:
    found = {path.name for path in _runs(applied)}
    assert found == {
        f"{arm}-s{seed}-{_result(applied)['arms'][arm]['seeds'][str(seed)]['digest'][:8]}"
        for arm in ("finetune", "head_only")
        for seed in SEEDS
    }
    assert len(found) == 6


def test_run_folder_holds_these_files_and_no_other(applied: Path) -> None:
    for folder in _runs(applied):
        assert {path.name for path in folder.iterdir()} == FILES
        best = json.loads((folder / "result.json").read_text())["best_epoch"]
        names = {path.name for path in (folder / "checkpoint").iterdir()}
        assert names == {"state-2.safetensors", f"best-{best}.safetensors"}
        for path in folder.rglob("*.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                assert [arrays[name].dtype.hasobject for name in arrays.files] == [False] * len(arrays.files)
        for path in folder.rglob("*"):  # a pickle begins with its protocol; a zip archive of torch's holds one
            assert path.is_dir() or path.read_bytes()[:1] != b"\x80", path
            assert path.suffix == ".npz" or not zipfile.is_zipfile(path), path
    assert {path.name for path in applied.iterdir() if path.is_file()} == {
        "result.json",
        "curves.svg",
        "report.html",
        "inspection.npz",
        "choices.json",
        ".lock",
    }


def test_result_of_a_run_says_what_happened(applied: Path) -> None:
    for folder in _runs(applied):
        result, lines = _result(folder), _metrics(folder)
        assert result["format"] == 1
        assert result["recipe"] == "toy"
        assert f"{result['arm']}-s{result['seed']}-{result['digest'][:8]}" == folder.name
        assert len(result["digest"]) == 64
        assert result["status"] == "finished"
        assert result["exact"] is True
        assert result["epochs"] == 2
        assert result["error"] is None
        assert result["skipped_images"] == 0
        assert result["parameters"] == {"total": TOTAL, "trained": TOTAL if result["arm"] == "finetune" else 16 * 4 + 4}
        whole = sum(line["seconds"] for line in lines)
        assert whole <= result["seconds"] + 1e-3 < whole + 2.0, "and of writing the last epoch and the weights"
        assert result["test"] == lines[result["best_epoch"] - 1]["test"]
        assert result["validation"] == lines[result["best_epoch"] - 1]["validation"]
        assert result["versions"]["torch"] == torch.__version__


def test_frozen_random_weights_are_a_warning_of_the_result(applied: Path) -> None:
    warned = {_result(folder)["arm"]: " ".join(_result(folder)["warnings"]) for folder in _runs(applied)}
    assert warned["finetune"] == ""
    assert "random weights" in warned["head_only"]
    assert "stem, block1, block2" in warned["head_only"]


def test_result_of_the_recipe_holds_every_run(applied: Path) -> None:
    record = _result(applied)
    assert (record["format"], record["recipe"], record["superseded"]) == (2, "toy", [])
    assert record["file"] == "toy.toml"
    assert list(record["arms"]) == ["finetune", "head_only"]
    for arm in record["arms"].values():
        assert list(arm["seeds"]) == ["0", "1", "2"]
        for run in arm["seeds"].values():
            assert {key: value for key, value in run.items() if key != "folder"} == _result(applied / run["folder"])


@pytest.mark.parametrize(("arm", "metric"), [("finetune", "accuracy"), ("finetune", "loss"), ("head_only", "loss")])
def test_interval_over_three_seeds_is_students_t(applied: Path, arm: str, metric: str) -> None:
    table = _result(applied)["arms"][arm]
    a, b, c = (run["test"][metric] for run in table["seeds"].values())
    mean = (a + b + c) / 3
    deviation = math.sqrt(((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2)
    half = 4.303 * deviation / math.sqrt(3)  # the 97.5 % quantile of Student's t with 2 degrees of freedom
    assert half > 0
    found = table["test"][metric]
    assert found["n"] == 3
    assert found["mean"] == pytest.approx(mean)
    low, high = max(mean - half, 0.0), mean + half if metric == "loss" else min(mean + half, 1.0)
    assert found["low"] == pytest.approx(low, abs=1e-3 * half)
    assert found["high"] == pytest.approx(high, abs=1e-3 * half)


def test_one_seed_has_no_interval(toy_recipe: Path) -> None:
    result = api.apply(toy_recipe, ["schedule.epochs=1"], runs=toy_recipe.parent / "runs").result
    accuracy = result["arms"]["main"]["test"]["accuracy"]
    run = result["arms"]["main"]["seeds"]["0"]
    assert accuracy == {"mean": run["test"]["accuracy"], "low": None, "high": None, "n": 1}


def test_metrics_have_a_line_an_epoch(applied: Path) -> None:
    for folder in _runs(applied):
        lines = _metrics(folder)
        assert [line["epoch"] for line in lines] == [1, 2]
        for line in lines:
            assert line["phase"] == 1
            for split in ("train", "validation", "test"):
                more = set() if split == "train" else {"balanced_accuracy", "f1", *(["auroc"] if line["best"] else [])}
                assert set(line[split]) == {"loss", "accuracy"} | more
                assert 0 <= line[split]["accuracy"] <= 1
            assert line["seconds"] > 0
            assert line["images_per_second"] > 0
        assert lines[0]["lr"].keys() == ({"backbone", "head"} if "finetune" in folder.name else {"head"})
        # half a cosine over 10 steps from 1e-2: the last step of epoch 1 is step 4, of epoch 2 step 9
        rates = [0.5 * (1 + math.cos(math.pi * step / 10)) * 1e-2 for step in (4, 9)]
        assert [line["lr"]["head"] for line in lines] == pytest.approx(rates, rel=1e-3)


def test_split_file_names_every_image_once(applied: Path) -> None:
    labels = _toy_images("train")[1].numpy()
    for folder in _runs(applied):
        split = json.loads((folder / "split.json").read_text())
        train, held = split["train"]["positions"], split["validation"]["positions"]
        assert sorted(train + held) == list(range(80))
        assert np.bincount(labels[held]).tolist() == [2, 2, 2, 2]  # a tenth of twenty
        assert (split["train"]["count"], split["validation"]["count"], split["test"]["count"]) == (72, 8, 40)
        assert split["skipped"] == []


def test_weights_are_the_librarys_own_and_give_the_result(applied: Path) -> None:
    for folder in _runs(applied):
        net = ToyNet(4)
        net.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
        net.eval()
        x, y = _toy_images("test")
        with torch.no_grad():
            logits = net(x)
        assert _result(folder)["test"]["accuracy"] == (logits.argmax(1) == y).sum().item() / 40
        assert _result(folder)["test"]["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, y).item(), rel=1e-5)


def test_curves_are_xml_that_names_every_arm(applied: Path) -> None:
    texts = {element.text for element in ElementTree.parse(applied / "curves.svg").iter() if element.text}
    assert {"finetune", "head_only", "loss", "accuracy", "epoch"} <= texts


def test_best_epoch_is_chosen_by_validation_never_by_test(toy_recipe: Path) -> None:
    hard = ["schedule.name=constant", "data.options.noise=2.0", "lr_groups.backbone=0.05", "data.split.validation=0.2"]
    runs = toy_recipe.parent / "runs"
    run = api.apply(toy_recipe, [*hard, "schedule.epochs=8"], runs=runs)
    result = run.result["arms"]["main"]["seeds"]["0"]
    folder = run.folder / result["folder"]
    lines = _metrics(folder)
    by = {
        split: max(lines, key=lambda line: (line[split]["accuracy"], -line[split]["loss"], -line["epoch"]))["epoch"]
        for split in ("validation", "test")
    }
    assert by["validation"] not in (by["test"], 8), "these settings no longer tell the two apart; choose others"
    assert result["best_epoch"] == by["validation"]
    assert [line["best"] for line in lines].count(True) >= 1
    # the rates are constant, so a run of as many epochs ends with the very network
    short = api.apply(toy_recipe, [*hard, f"schedule.epochs={by['validation']}"], runs=runs)
    last = load_file(
        short.folder
        / short.result["arms"]["main"]["seeds"]["0"]["folder"]
        / "checkpoint"
        / f"state-{by['validation']}.safetensors"
    )
    for name, tensor in load_file(folder / "weights.safetensors").items():
        assert torch.equal(tensor, last[f"network/{name.replace('fc.', 'head.')}"]), name


def test_without_validation_images_the_last_epoch_counts(toy_recipe: Path) -> None:
    run = api.apply(toy_recipe, ["data.split.validation=0.0", "schedule.epochs=3"], runs=toy_recipe.parent / "runs")
    result = run.result["arms"]["main"]["seeds"]["0"]
    assert result["best_epoch"] == 3
    assert result["validation"] is None
    assert result["test"] == _metrics(run.folder / result["folder"])[-1]["test"]


@pytest.mark.parametrize(("part", "chosen"), [(0.0, False), (0.25, True)])
def test_what_is_printed_says_which_epoch_counts(toy_recipe: Path, run: Cli, part: float, chosen: bool) -> None:
    code, output, text = run("apply", toy_recipe, "--set", f"data.split.validation={part}")
    assert code == 0
    lines = [line for line in text.splitlines() if line.startswith(("  1/2 ", "  2/2 "))]
    assert len(lines) == 2
    assert lines[0].endswith("  best") == chosen
    assert ("of the best epoch by validation" in output, "of the last epoch" in output) == (chosen, not chosen)


def test_finished_recipe_is_left_alone(applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    left = tmp_path / "-".join([being_decoded._NAME, *being_decoded._machine(), "0"])
    left.touch()
    before = {path: path.stat().st_mtime_ns for folder in _runs(applied) for path in folder.iterdir()}
    again = api.apply(applied.parents[1] / "toy.toml", runs=applied.parent)
    assert not again.changed
    assert again.failures == ()
    assert {path: path.stat().st_mtime_ns for folder in _runs(applied) for path in folder.iterdir()} == before
    assert not left.exists(), "of a process that was killed at its end"


def test_finished_recipe_imports_no_torch(applied: Path) -> None:
    code = "import sys; from tlkit import cli; sys.argv[0] = 'tlkit'\ntry: cli.main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "apply", str(applied.parents[1] / "toy.toml"), "--runs", str(applied.parent)],
        env={**os.environ, "PYTHONPATH": python_path(TOY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "finished before, nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_recipe_in_the_run_folder_is_complete_and_trains_the_same_bits(
    applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = next(path for path in _runs(applied) if path.name.startswith("head_only-s1"))
    again = api.apply(folder / "recipe.toml", runs="elsewhere").result["arms"]["main"]["seeds"]["1"]
    assert again["digest"] == _result(folder)["digest"]
    copy = tmp_path / "elsewhere" / "toy" / again["folder"]
    assert (copy / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
    written = tomllib.loads((folder / "recipe.toml").read_text())
    assert written["freeze"] == {"backbone": True}
    assert written["optimizer"] == {
        "name": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "accumulate": 1,
    }  # fmt: skip
    assert written["data"]["options"]["noise"] == 0.25
    assert written["data"]["split"]["validation"] == 0.1
    assert "arms" not in written


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes of small pictures."""
    draw = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 180)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(8):
            pixels = (level + draw.integers(-50, 50, (20, 24, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("by_option", [False, True], ids=["path in the recipe", "--data"])
def test_recipe_in_the_run_folder_finds_a_folder_of_images_again(
    toy_recipe: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_option: bool
) -> None:
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"').replace("epochs = 2", "epochs = 1")
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, "" if by_option else '[data.options]\npath = "photos"\n\n'))
    first = api.apply(toy_recipe, runs=tmp_path / "runs", data=photos if by_option else None)
    run = first.result["arms"]["main"]["seeds"]["0"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = api.apply(first.folder / run["folder"] / "recipe.toml", runs="runs")
    assert again.result["arms"]["main"]["seeds"]["0"]["digest"] == run["digest"]
    assert again.result["arms"]["main"]["seeds"]["0"]["test"] == run["test"]


def test_moved_images_and_another_name_of_the_recipe_are_the_same_run(toy_recipe: Path, photos: Path, tmp_path: Path) -> None:
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"').replace("epochs = 2", "epochs = 1")
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "photos"\n\n'))
    first = api.apply(toy_recipe, runs=tmp_path / "runs")
    photos.rename(tmp_path / "moved")
    assert not api.apply(toy_recipe, ["data.options.path=moved"], runs=tmp_path / "runs").changed
    next((tmp_path / "moved" / "dark").iterdir()).write_bytes(next((tmp_path / "moved" / "light").iterdir()).read_bytes())
    changed = api.apply(toy_recipe, ["data.options.path=moved"], runs=tmp_path / "runs")
    assert changed.changed
    assert changed.result["superseded"] == [first.result["arms"]["main"]["seeds"]["0"]["folder"]]


def test_changed_recipe_is_a_new_run_beside_the_old_one(toy_recipe: Path) -> None:
    runs = toy_recipe.parent / "runs"
    old = api.apply(toy_recipe, ["schedule.epochs=1"], runs=runs).result["arms"]["main"]["seeds"]["0"]
    kept = (runs / "toy" / old["folder"] / "weights.safetensors").read_bytes()
    new = api.apply(toy_recipe, ["schedule.epochs=1", "lr_groups.head=1e-3"], runs=runs)
    run = new.result["arms"]["main"]["seeds"]["0"]
    assert run["digest"] != old["digest"]
    assert new.result["superseded"] == [old["folder"]]
    assert (runs / "toy" / old["folder"] / "weights.safetensors").read_bytes() == kept
    back = api.apply(toy_recipe, ["schedule.epochs=1"], runs=runs)  # the old recipe again: nothing to train
    assert not back.changed
    assert back.result["superseded"] == [run["folder"]]
    assert _result(runs / "toy") == back.result


def test_another_seed_or_arm_leaves_the_digest_of_the_others(toy_recipe: Path) -> None:
    runs = toy_recipe.parent / "runs"
    first = api.apply(toy_recipe, ["schedule.epochs=1"], runs=runs).result["arms"]["main"]["seeds"]
    more = api.apply(toy_recipe, ["schedule.epochs=1", "seeds=[0, 5]"], runs=runs).result
    assert more["arms"]["main"]["seeds"]["0"] == first["0"]
    assert more["arms"]["main"]["seeds"]["5"]["seed"] == 5
    assert more["superseded"] == []


def test_one_arm_can_be_applied_by_itself(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text().replace("epochs = 2", "epochs = 1") + ARMS)
    runs = toy_recipe.parent / "runs"
    only = api.apply(toy_recipe, arm="head_only", runs=runs)
    assert list(only.result["arms"]) == ["head_only"]
    assert [path.name.split("-")[0] for path in _runs(only.folder)] == ["head_only"]
    other = api.apply(toy_recipe, arm="finetune", runs=runs)
    assert set(other.result["arms"]) == {"finetune", "head_only"}
    assert other.result["superseded"] == []
    assert not api.apply(toy_recipe, runs=runs).changed


def test_unknown_arm_is_named_with_the_nearest(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + ARMS)
    with pytest.raises(TlkitError, match='no arm "finetun"') as error:
        api.apply(toy_recipe, arm="finetun", runs=toy_recipe.parent / "runs")
    assert 'did you mean "finetune"?' in str(error.value)
    assert not (toy_recipe.parent / "runs").exists()


def test_phases_are_counted_from_one(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[freeze]\nstem = { epochs = 1 }\nblock1 = { epochs = 2 }\n")
    run = api.apply(toy_recipe, ["schedule.epochs=3"], runs=toy_recipe.parent / "runs")
    folder = run.folder / run.result["arms"]["main"]["seeds"]["0"]["folder"]
    assert [line["phase"] for line in _metrics(folder)] == [1, 2, 3]


def test_json_files_hold_nothing_that_json_does_not_know(applied: Path) -> None:
    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    for path in [applied / "result.json", *applied.glob("*/*.json")]:
        json.loads(path.read_text(), parse_constant=refuse)

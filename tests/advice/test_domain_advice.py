"""`tlkit advise FOLDER --source FOLDER2`: what a second domain is worth, on Gaussians with a known answer and with a toy network."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_domains
from conftest import Cli
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tlkit_toy_build import ToyNet

from tlkit import api
from tlkit.advice import domain_ways
from tlkit.advice.budget import Budget
from tlkit.advice.domain_ways import Domains
from tlkit.advice.likeness import fit
from tlkit.engine.adapting import Rows
from tlkit.record.domain_advice import Compared


def gaussians(*, shift: float, turned: bool = False) -> Domains:
    """Two classes 3 apart in 8 features, 200 source images and 24 of the target, which is shifted; `turned` swaps its classes."""
    draws = np.random.default_rng(0)

    def some(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 2
        points = draws.normal(size=(count, 8))
        points[:, 0] += 3 * labels - 1.5
        return points, labels

    (source, ys), (target, yt) = some(200), some(24)
    target[:, 0] = (-1 if turned else 1) * target[:, 0] + shift
    return Domains(Rows(source.astype(np.float32), ys, None), target.astype(np.float32), yt, np.arange(24), 2)


def compared(domains: Domains, seconds: float = 1e9) -> dict[str, Compared]:
    return {each.name: each for each in domain_ways.compare(domains, budget=Budget(seconds), watch=lambda: None)}


def test_the_mean_of_the_target_is_what_a_shift_needs() -> None:
    found = compared(gaussians(shift=4.0))
    assert found["source"].accuracy == pytest.approx(0.5, abs=0.1)
    assert found["stats"].accuracy > 0.85
    assert domain_ways.best(tuple(found.values())).name != "source"


def test_a_source_with_swapped_classes_is_left_out() -> None:
    found = compared(gaussians(shift=0.0, turned=True))
    assert found["both"].gain < 0
    assert found["source"].interval[1] < 0
    assert domain_ways.best(tuple(found.values())).name == "target"


@pytest.mark.parametrize(("interval", "word"), [((0.01, 0.2), "help"), ((-0.3, -0.1), "hurt"), ((-0.1, 0.2), "unclear")])
def test_the_interval_says_whether_the_source_helps(interval: tuple[float, float], word: str) -> None:
    found = Compared("both", "both", 0.8, 0.05, sum(interval) / 2, interval)
    assert domain_ways.verdict((found,))[0] == word


def test_the_targets_images_alone_are_judged_as_scikit_learn_does() -> None:
    """20 copies of an image count as 20 times the penalty's C."""
    domains, right = gaussians(shift=0.0), np.zeros(24)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(domains.target, domains.labels, domains.groups)
    for train, test in folds:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.2, max_iter=1000))
        right[test] = (
            model.fit(domains.target[train], domains.labels[train]).predict(domains.target[test]) == domains.labels[test]
        )
    found = compared(domains)["target"]
    assert found.accuracy == pytest.approx(right.mean())
    assert found.error == pytest.approx(right.std(ddof=1) / np.sqrt(24)) or right.mean() == 1


def test_what_there_is_no_time_for_is_told() -> None:
    found = compared(gaussians(shift=0.0), seconds=0.0)
    assert found["target"].accuracy is not None
    assert all(each.why_not.endswith("0 s are left") for name, each in found.items() if name != "target")


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    torch.save(ToyNet().state_dict(), tmp_path / "toy.pth")
    toy_domains.pictures(tmp_path / "bright", 250)
    toy_domains.pictures(tmp_path / "dark", 90, images=6)
    return tmp_path


def test_the_answer_names_distances_and_ways_and_its_recipe_runs(run: Cli, domains: Path) -> None:
    asked = ("advise", "dark", "--source", "bright", "--backbones", "toy=toy.pth")
    code, out, error = run(*asked, "--json")
    assert code == 0, error
    found = json.loads(out)
    assert found["format"] == 4
    told = found["domains"]
    assert told["images"] == [27, 15]  # without the source's validation and test images, and the target's test images
    assert list(told["distances"]) == ["stem", "block1", "block2"]
    assert told["distances"]["stem"]["proxy_a"] > 1.5
    assert [each["name"] for each in told["compared"]] == list(domain_ways.WAYS)
    assert found["way"] == max(told["compared"], key=lambda each: each["accuracy"] or 0)["name"]
    text = (domains / "dark-advised.toml").read_text()
    assert "proxy A-distance" in text
    assert "beside the target's labelled images" in " ".join(text.replace("\n#", "").split())
    recipe = tomllib.loads(text)
    assert recipe["head"]["kind"] == "logistic"
    api.apply(domains / "dark-advised.toml", runs=domains / "runs")
    code, out, _ = run(*asked)
    assert code == 0
    assert "ways to use both" in out


@pytest.mark.parametrize("name", ["target", "both", "prototypes", "coral"])
def test_the_recipe_of_a_way_is_sound(run: Cli, domains: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (domains / "of").mkdir()
    monkeypatch.setattr(domain_ways, "best", lambda found: next(each for each in found if each.name == name))
    code, _, error = run("advise", "dark", "--source", "bright", "--backbones", "toy=toy.pth", "--out", "of/r.toml")
    assert code == 0, error
    code, _, error = run("validate", "of/r.toml")
    assert code == 0, error
    recipe = tomllib.loads((domains / "of" / "r.toml").read_text())
    assert ("adapt" in recipe) == (name != "target")
    assert recipe.get("adapt", {}).get("labels_per_class", 0) == (5 if domain_ways.WAYS[name][2] and name != "target" else 0)


@pytest.mark.parametrize("name", ["target", "coral"])
def test_ways_are_compared_at_the_stage_that_the_recipe_reads(
    run: Cli, domains: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """block1 is made the best stage; with no time for it no way but the target's images alone is tried."""
    whole, seen = domain_ways.compare, []

    def compare(domains: Domains, **more: Any) -> tuple[Compared, ...]:
        seen.append((domains.source.features.shape[1], domains.target.shape[1]))
        return whole(domains, **more | ({"budget": Budget(0.0)} if name == "target" else {}))

    monkeypatch.setattr(domain_ways, "compare", compare)
    if name != "target":
        monkeypatch.setattr(domain_ways, "best", lambda found: next(each for each in found if each.name == name))
    monkeypatch.setattr("tlkit.advice.likeness.fit", lambda found: replace(fit(found), best="block1"))
    code, out, error = run("advise", "dark", "--source", "bright", "--backbones", "toy=toy.pth", "--out", "r.toml", "--json")
    assert code == 0, error
    found, why = json.loads(out), " ".join(json.loads(out)["why"])
    recipe = tomllib.loads(Path("r.toml").read_text())
    assert (recipe["head"]["embed"], found["domains"]["stage"]) == ("block1", "block1")
    assert seen == [(8, 8)], "channels of block1; block2 has 16"
    chosen = next(each for each in found["domains"]["compared"] if each["name"] == name)
    assert f"{100 * chosen['accuracy']:.1f} % right (standard error {100 * chosen['error']:.1f})" in why
    assert "on its stage block1" in found["sentence"]
    assert "A head on" not in found["sentence"], "the probe's head has another C"
    assert "All ways were compared at block1, which a head of these images reads better than the last stage, block2." in why
    assert ("7 of 8 ways were not tried (source: takes about" in why) == (name == "target")
    assert ("nothing was compared, and whether images of bright help is not known." in why) == (name == "target")
    assert run("plan", "r.toml")[0] == 0
    assert recipe["head"]["options"]["C"] == pytest.approx(0.2 if name == "target" else 0.01)


def test_domains_that_cannot_be_compared_are_named(run: Cli, domains: Path) -> None:
    shutil.copytree(domains / "bright", domains / "copy")
    toy_domains.pictures(domains / "half", 200, ("blue", "green"))
    for folder, other, words in (
        ("bright", "copy", "bright has the same images as copy"),
        ("dark", "half", "dark has classes that half has no images of: red"),
        ("dark", "nowhere", "the source, nowhere, is no folder"),
    ):
        code, _, error = run("advise", folder, "--source", other, "--backbones", "toy=toy.pth")
        assert code == 1
        assert words in " ".join(error.split())
    code, _, error = run("advise", "dark", "--source", "bright", "--backbones", "toy=toy.pth", "--budget", "0.001s")
    assert code == 1
    assert "too small" in error

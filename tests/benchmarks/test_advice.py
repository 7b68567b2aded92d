"""The benchmark of advice: regret that does not reward luck, baselines, and a grid that goes on where it was stopped."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tlkit_toy_build import ToyNet

from benchmarks import advice, advice_fit, advice_regret, advice_runs, advice_sets, advice_table
from tlkit.advice import fitted, ranking
from tlkit.advice.budget import Budget


def test_regret_of_equal_configurations_is_none() -> None:
    """15 configurations of the same true accuracy: the luckiest is far ahead on its own images, and not on others."""
    draws = np.random.default_rng(0)
    grid = draws.random((15, 150)) < 0.8
    found = advice_regret.regret(grid, grid[3])
    assert grid.mean(1).max() - grid[3].mean() > 0.01
    assert abs(found.mean) < 0.03
    assert found.interval[0] < 0 < found.interval[1]


def test_regret_of_a_worse_choice_is_what_it_lost() -> None:
    draws = np.random.default_rng(0)
    grid = draws.random((5, 2000)) < np.array([[0.9], [0.5], [0.5], [0.5], [0.5]])
    assert advice_regret.regret(grid, grid[1]).mean == pytest.approx(0.4, abs=0.04)


def test_best_elsewhere_leaves_the_whole_family_out() -> None:
    accuracies = {"a": {"x": 0.9, "y": 0.1}, "b": {"x": 0.9, "y": 0.2}, "c": {"x": 0.3, "y": 0.4}}
    assert advice_regret.best_elsewhere(accuracies, {"a": "one", "b": "one", "c": "two"}, "a") == "y"


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    for kind in ("ants", "bees"):
        for number in range(3):
            (tmp_path / "sets" / "hymenoptera" / "train" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "sets" / "hymenoptera" / "train" / kind / f"{number}.jpg").write_bytes(b"")
    offered, there = {"squeezenet1_0": "imagenet1k-v1"}, list[dict[str, object]]()

    def left(again: str | None = None) -> list[str]:
        found = advice.missing("hymenoptera", tmp_path, offered, lambda: there, again=again)
        return [f"{kind} {what}" for kind, what, _ in found]

    every = left()
    assert every[:3] == ["grid squeezenet1_0-everything", "grid squeezenet1_0-everything_x0.3", "grid squeezenet1_0-head"]
    assert every[-2:] == ["advice all", "probe all"]
    assert left("advice") == []  # whose budget is a part of the grid's seconds
    there += [
        {"set": "hymenoptera", "kind": "grid", "what": "squeezenet1_0-everything"},
        {"set": "hymenoptera", "kind": "probe", "what": "all"},
    ]
    assert left() == every[1:-1]
    there += [{"set": "hymenoptera", "kind": "grid", "what": each.partition(" ")[2], "seconds": 1.0} for each in every[1:-2]]
    assert left() == left("advice") == ["advice all"]


def test_line_that_was_cut_short_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "advice.jsonl"
    advice.append(path, {"set": "a"})
    path.write_text(path.read_text() + '{"set": "b", "righ')
    assert [each["set"] for each in advice.read(path)] == ["a"]
    advice.append(path, {"set": "c"})
    assert [each["set"] for each in advice.read(path)] == ["a", "c"]


def test_budget_can_be_counted_in_processor_time() -> None:
    allowed = Budget(1.0, clock=time.process_time)
    time.sleep(0.2)
    assert allowed.spent < 0.1


def toy_images(folder: Path) -> None:
    """Noise of three colours, 12 training and 4 test images each."""
    draws = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for name, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60)), ("blue", (60, 60, 200))):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) + draws.normal(0, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def test_advice_reads_nothing_that_the_grid_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of the grid, advice and the probe on real runs of a toy network; each of the two caches is filled by its own."""
    toy_images(tmp_path / "sets" / "toy")
    torch.manual_seed(0)
    torch.save(ToyNet().state_dict(), tmp_path / "toy.pth")
    place = advice_runs.Place(
        tmp_path, "toy", advice_sets.ImageSet("toys", 16, lambda _: iter(())), {"toy": str(tmp_path / "toy.pth")}
    )
    monkeypatch.setattr(advice_runs, "EPOCHS", 1)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "usual"))
    line = advice_runs.trained(place, "toy-head")
    assert (len(line["right"]), line["network"]) == (12, "toy")
    assert line["seconds"] > 0
    found = advice_runs.advised(place, budget=3.0)
    assert len(found["right"]) == 12
    assert not (tmp_path / "cache" / "advice-toy.begun").exists()
    probe = advice_runs.probed(place)
    assert set(probe["networks"]["toy"]) >= {"accuracy", "neighbours", "NLEEP", "GBC", "LogME", "stages"}
    assert any((tmp_path / "cache" / "grid").rglob("*"))
    assert any((tmp_path / "cache" / "advice").rglob("*"))
    assert not (tmp_path / "usual").exists()  # the cache that everything else would use


def test_table_tells_regret_cost_and_baselines() -> None:
    grid = [
        {"set": "fashion", "kind": "grid", "what": f"efficientnet_lite0-{way}", "network": "efficientnet_lite0", "seconds": 50, "right": right}
        for way, right in (("everything", "1" * 60 + "0" * 40), ("head", "1" * 80 + "0" * 20))
    ]  # fmt: skip
    told = {
        "set": "fashion", "kind": "advice", "what": "all", "seconds": 10, "right": "1" * 80 + "0" * 20, "expected": 0.79,
        "interval": [0.7, 0.85], "network": "efficientnet_lite0", "way": "head",
    }  # fmt: skip
    probe = {
        "set": "fashion",
        "kind": "probe",
        "what": "all",
        "least": 10,
        "networks": {"efficientnet_lite0": {"LogME": 0.1, "likeness": "similar"}},
    }
    assert advice_table.table([*grid, told]) == "0 of 13 sets so far"  # only whole sets are told
    text = advice_table.table([*grid, told, probe])
    assert "1 of 13 sets so far" in text
    assert "| fashion | 100 | 2 | 80.0 | 80.0 | 0.0 (" in text
    assert "| 10% of 1.7 min | 79.0 | efficientnet_lite0, head |" in text
    assert "The 90 % interval of advice held 1 of 1 times" in text
    assert "| similar | 1 | -20.0 | 0 |" in text  # training lost 20 points against the head
    assert "| largest ImageNet accuracy | 20." in text or "| largest ImageNet accuracy | 19." in text


def test_sets_are_made_of_the_real_images(test_data: Path, tmp_path: Path) -> None:
    folder = advice_sets.make("dslr", test_data, tmp_path)
    counts = {part: len(list((folder / part).rglob("*.jpg"))) for part in ("train", "test")}
    assert sum(counts.values()) == 498
    assert counts["train"] <= advice_sets.MOST["train"]
    assert len(list((folder / "train").iterdir())) == 31


def known_set(name: str, weights: np.ndarray, draws: np.random.Generator) -> list[dict[str, object]]:
    """Lines of a set whose networks' best accuracies follow weights of probe, prior, NLEEP and GBC exactly, but for 2,000 images."""
    probe, lines = {}, []
    level = draws.normal()
    for network in ("a", "b", "c"):
        accuracy, top1, nleep, gbc = draws.uniform(0.5, 0.9), draws.uniform(50, 80), draws.normal(), draws.normal()
        x = np.array([ranking.logit(accuracy), ranking.logit(top1 / 100), nleep, gbc / 6])
        right = round(2000 / (1 + np.exp(-(level + x @ weights))))
        lines.append(
            {
                "set": name,
                "kind": "grid",
                "what": f"{network}-everything",
                "network": network,
                "right": "1" * right + "0" * (2000 - right),
            }
        )
        probe[network] = {"accuracy": accuracy, "top1": top1, "NLEEP": nleep, "GBC": gbc, "sample": 600}
    return [*lines, {"set": name, "kind": "probe", "what": "all", "classes": 3, "networks": probe}]


def test_weights_of_synthetic_sets_are_found_without_a_family() -> None:
    draws = np.random.default_rng(0)
    true = np.array([0.5, 0.3, 0.4, 0.6])
    lines = [line for name in advice_sets.SETS for line in known_set(name, true, draws)]
    known = advice_fit.gathered(lines)
    assert len(known) == len(advice_sets.SETS)
    found = advice_fit.weights(known, 1e-3)
    assert list(found.values()) == pytest.approx(true, abs=0.1)
    penalty, lost = advice_fit.judged(known)
    assert penalty == min(advice_fit.PENALTIES)
    ridge, *others = lost.values()
    assert ridge < 0.01
    assert ridge <= min(others)


def test_what_no_set_tells_stays_as_it_was_judged_and_no_weight_is_negative() -> None:
    draws = np.random.default_rng(0)
    lines = [line for name in advice_sets.SETS for line in known_set(name, np.array([0.5, 0.0, 0.4, -0.6]), draws)]
    for line in lines:
        for network in line.get("networks", {}).values():
            network["top1"] = None
    found = advice_fit.weights(advice_fit.gathered(lines), 0.1)
    assert (found["prior"], found["GBC"]) == (0.5, 0.0)
    assert found["probe"] > 0


def test_interval_of_enough_sets_covers_a_new_one() -> None:
    """Split conformal prediction: of 9 errors the largest, of 19 the second largest; of 8 there is none."""
    assert fitted.half_width(range(1, 9)) is None
    assert (fitted.half_width(range(1, 10)), fitted.half_width(range(1, 20))) == (9, 18)
    draws = np.random.default_rng(0)
    errors = draws.exponential(size=(2000, 12))
    held = [new <= (fitted.half_width(mine) or 0.0) for *mine, new in errors.tolist()]
    assert np.mean(held) == pytest.approx(11 / 12, abs=0.02)  # the ceil(12 * 0.9) = 11th of 11


def test_too_few_families_change_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draws, path = np.random.default_rng(0), tmp_path / "lines.jsonl"
    for name in ("retina", "google"):
        for line in known_set(name, np.ones(4), draws):
            advice.append(path, line)
    monkeypatch.setattr(advice_fit.fitted, "FILE", tmp_path / "fitted.json")
    before = fitted.load()
    assert advice_fit.main(["--lines", str(path), "--write"]) == 0
    written = json.loads((tmp_path / "fitted.json").read_text())
    assert (written["sets"], written["weights"]) == (0, before.weights)
    assert "2 families are too few" in capsys.readouterr().out

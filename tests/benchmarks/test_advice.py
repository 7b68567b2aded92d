"""The benchmark of advice: regret that does not reward luck, baselines, and a grid that goes on where it was stopped."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import advice, advice_regret, advice_sets


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


def test_what_is_there_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "WORK", tmp_path)
    monkeypatch.setattr(advice, "read_of", lambda name: [])
    for kind in ("ants", "bees"):
        for number in range(3):
            (tmp_path / "set" / "train" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / "train" / kind / f"{number}.jpg").write_bytes(b"")
    offered = {"squeezenet1_0": "imagenet1k-v1"}
    left = [what for what, _ in advice._missing("hymenoptera", tmp_path / "set", offered, [])]
    assert left[:3] == ["grid, squeezenet1_0-everything", "grid, squeezenet1_0-everything_x0.3", "grid, squeezenet1_0-head"]
    assert left[-2:] == ["advice", "probe"]  # a probe before it would be stored, and advice would cost less than it does
    done = [
        {"set": "hymenoptera", "kind": "grid", "what": "squeezenet1_0-everything"},
        {"set": "hymenoptera", "kind": "probe", "what": "all"},
    ]
    assert [what for what, _ in advice._missing("hymenoptera", tmp_path / "set", offered, done)] == [*left[1:-2], "advice"]


def test_table_tells_regret_cost_and_baselines() -> None:
    grid = [
        {
            "set": "fashion",
            "kind": "grid",
            "what": f"efficientnet_lite0-{way}",
            "network": "efficientnet_lite0",
            "seconds": 50,
            "right": right,
        }
        for way, right in (("everything", "1" * 60 + "0" * 40), ("head", "1" * 80 + "0" * 20))
    ]
    told = {
        "set": "fashion",
        "kind": "advice",
        "what": "all",
        "seconds": 10,
        "right": "1" * 80 + "0" * 20,
        "expected": 0.79,
        "interval": [0.7, 0.85],
    }
    text = advice.table([*grid, told])
    assert "| fashion | 2 | 80.0 | 80.0 | 0.0 (" in text
    assert "| 10% | 79.0 |" in text
    assert "advice's 95 % interval held 1 of 1 times" in text
    assert "| largest ImageNet accuracy | 20." in text or "| largest ImageNet accuracy | 19." in text


def test_sets_are_made_of_the_real_images(test_data: Path, tmp_path: Path) -> None:
    folder = advice_sets.make("dslr", test_data, tmp_path)
    counts = {part: len(list((folder / part).rglob("*.jpg"))) for part in ("train", "test")}
    assert sum(counts.values()) == 498
    assert len(list((folder / "train").iterdir())) == 31

"""The table of a recipe's results: no empty column, the best arm by validation first."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import t as student

from tlkit import api
from tlkit.reports import result_table


def printed(summary: dict[str, Any], width: int = 150) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(result_table.result(summary))
    return captured.get().splitlines()


def applied(recipe: Path, *settings: str) -> list[str]:
    return printed(dict(api.apply(recipe, [*settings, "schedule.epochs=1"], runs=recipe.parent / "runs", offline=True).result))


def test_without_test_images_their_columns_are_left_out(toy_recipe: Path) -> None:
    title, header, row, *_ = applied(toy_recipe, "data.split.fractions=[0.8, 0.2, 0.0]")
    assert title.rstrip() == "toy: the best epoch by validation; there are no test images"
    assert header.split() == ["arm", "seeds", "train", "accuracy", "val", "accuracy", "epoch", "trainable", "seconds", "status"]
    assert len(row.split()) == 8


def test_where_every_run_failed_nothing_is_said_of_test_images() -> None:
    run = {
        "validation": None, "best_epoch": None, "parameters": {"trained": 10}, "seconds": 0.0, "status": "failed",
        "seed": 0, "skipped_images": 0, "exact": True, "warnings": [], "test": None,
    }  # fmt: skip
    title, *_ = printed({"recipe": "r", "arms": {"a": {"seeds": {"0": run}, "test": {}}}})
    assert title.rstrip() == "r: no run is finished"


def test_without_validation_images_their_column_is_left_out(toy_recipe: Path) -> None:
    title, header, *_ = applied(toy_recipe, "data.split.validation=0.0")
    assert title.rstrip() == "toy: test accuracy and loss of the last epoch"
    assert "val" not in header.split()
    assert header.split()[2:4] == ["accuracy", "loss"]


@pytest.mark.parametrize("tested", [True, False])
def test_the_best_arm_comes_first(tested: bool) -> None:
    def arm(score: float) -> dict[str, Any]:
        run = {
            "validation": {"accuracy": score}, "best_epoch": 3, "parameters": {"trained": 10}, "seconds": 2.0, "status": "finished",
            "seed": 0, "skipped_images": 0, "exact": True, "warnings": [], "test": None,
        }  # fmt: skip
        mean = {"mean": score, "low": None, "high": None}
        return {"seeds": {"0": run}, "test": {"accuracy": mean, "loss": mean} if tested else {}}

    lines = printed({"recipe": "r", "arms": {"low": arm(0.2), "high": arm(0.9), "middle": arm(0.5)}})
    assert [line.split()[0] for line in lines[2:5]] == ["high", "middle", "low"]


def test_arms_selected_by_the_target_are_ranked_by_its_score() -> None:
    def arm(score: float) -> dict[str, Any]:
        run = trained(0.9, 0.8) | {"select_by": "snd", "target": {"snd": score, "entropy": score}}
        return {"seeds": {"0": run}, "test": {"accuracy": mean_of(0.8)}}

    lines = printed({"recipe": "r", "arms": {"low": arm(0.2), "high": arm(0.9), "middle": arm(0.5)}})
    names = [line.split()[0] for line in lines if line.split() and line.split()[0] in ("low", "high", "middle")]
    assert names == ["high", "middle", "low"]


@pytest.mark.parametrize(
    ("interval", "values", "shown"),
    [
        ({"mean": 0.5, "low": None, "high": None}, [0.5], "50.0%"),
        ({"mean": 0.5, "low": None, "high": None}, [0.25, 0.75], "50.0% (25.0, 75.0)"),
        ({"mean": 0.5, "low": 0.4, "high": 0.6}, [0.45, 0.5, 0.55], "50.0% ± 10.0"),
        ({"mean": 0.9, "low": 0.7, "high": 1.0}, [0.8, 0.9, 1.0], "90.0% (70.0 to 100.0)"),
        ({"mean": 0.5, "low": 0.5, "high": 0.5}, [0.5, 0.5, 0.5], "50.0%"),
    ],
)
def test_two_runs_are_shown_as_they_are_and_an_interval_not_beyond_100_percent(
    interval: dict[str, Any], values: list[float], shown: str
) -> None:
    runs = {
        str(seed): {
            "validation": None, "best_epoch": 1, "parameters": {"trained": 10}, "seconds": 2.0, "status": "finished",
            "seed": seed, "skipped_images": 0, "exact": True, "warnings": [], "test": {"accuracy": value},
        }
        for seed, value in enumerate(values)
    }  # fmt: skip
    lines = printed({"recipe": "r", "arms": {"a": {"seeds": runs, "test": {"accuracy": interval}}}})
    assert f" {shown}  " in lines[2], "and nothing behind it"


def test_what_several_runs_have_in_common_is_said_once() -> None:
    def run(seed: int, *warnings: str, skipped: int = 0) -> dict[str, Any]:
        return {
            "validation": None, "best_epoch": 1, "parameters": {"trained": 10}, "seconds": 2.0, "status": "finished",
            "seed": seed, "skipped_images": skipped, "exact": True, "warnings": warnings, "test": None,
        }  # fmt: skip

    def arm(*runs: dict[str, Any]) -> dict[str, Any]:
        return {"seeds": {str(each["seed"]): each for each in runs}, "test": {}}

    first = arm(run(0, "a stray file", skipped=2), run(1, "a stray file", "one step an epoch", skipped=2))
    lines = [line.rstrip() for line in printed({"recipe": "r", "arms": {"one": first, "two": arm(run(0, "a stray file"))}})]
    assert lines.count("warning    all 3 runs: a stray file") == 1
    assert "warning    one, seed 1: one step an epoch" in lines
    assert "skipped    one, seed 0; one, seed 1: 2 images that cannot be decoded" in lines
    assert sum("stray" in line for line in lines) == 1


def trained(train: float, test: float, seed: int = 0) -> dict[str, Any]:
    return {
        "validation": {"accuracy": 0.9}, "best_epoch": 100, "parameters": {"trained": 11_173_962}, "seconds": 1000.0, "status": "finished",
        "seed": seed, "skipped_images": 0, "exact": True, "warnings": [], "gap": train - test,
        "train": {"accuracy": train, "loss": 0.5}, "test": {"accuracy": test, "loss": 0.5},
    }  # fmt: skip


def mean_of(value: float) -> dict[str, Any]:
    return {"mean": value, "low": None, "high": None, "n": 1}


def test_train_accuracy_and_its_gap_are_columns_and_a_second_table_in_80_columns() -> None:
    """Two of the lectures' models, as they were published."""
    arms = {
        name: {
            "seeds": {"0": trained(train, test)},
            "train": {"accuracy": mean_of(train)},
            "test": {"accuracy": mean_of(test), "loss": mean_of(0.5)},
            "gap": mean_of(train - test),
        }
        for name, train, test in (("C", 0.9968, 0.8872), ("A_small_rate", 0.4497, 0.4189))
    }
    wide = [line.split() for line in printed({"recipe": "r", "arms": arms})[1:]]
    assert wide[0][2:10] == ["accuracy", "loss", "train", "accuracy", "gap", "(points)", "val", "accuracy"]
    assert [row[2:6] for row in wide[1:]] == [["88.7%", "0.500", "99.7%", "11.0"], ["41.9%", "0.500", "45.0%", "3.1"]]
    narrow = printed({"recipe": "r", "arms": arms}, 80)
    assert not any("…" in line for line in narrow)
    assert [line.split() for line in narrow[-3:]] == [
        ["arm", "train", "accuracy", "gap", "(points)", "val", "accuracy"],
        ["C", "99.7%", "11.0", "90.0%"],
        ["A_small_rate", "45.0%", "3.1", "90.0%"],
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_nothing_of_two_seeds_with_a_baseline_and_an_ensemble_is_cut_in_a_narrow_terminal(width: int) -> None:
    def arm(**more: Any) -> dict[str, Any]:
        seeds = {
            str(seed): {**trained(train, test), "seed": seed, "test": {"accuracy": test, "loss": loss}, "gap": train - test, "best_epoch": 12 + seed}
            for seed, (train, test, loss) in enumerate(((0.987, 0.876, 0.432), (0.976, 0.865, 0.421)))
        }  # fmt: skip
        test = {"accuracy": mean_of(0.871), "loss": mean_of(0.427)}
        return {"seeds": seeds, "train": {"accuracy": mean_of(0.982)}, "test": test, "gap": mean_of(0.111), **more}

    difference = {"mean": -0.01, "low": None, "high": None, "p": None, "runs": [{"fold": None, "p": p} for p in (0.0312, 0.5)]}
    scores = {"accuracy": mean_of(0.9)}
    ensemble = {
        "name": "both", "average": "probabilities", "of": "seeds", "test": {"accuracy": mean_of(0.9), "loss": mean_of(0.4)},
        "validation": scores, "member_accuracy": 0.87,
        "runs": [{"seed": None, "fold": None, "members": ["a", "b"], "why_none": "", "test": None, "validation": None}],
    }  # fmt: skip
    arms = {"frozen_with_a_name_that_is_long": arm(), "frozen_with_a_name_that_is_short": arm(difference=difference)}
    summary = {"recipe": "r", "baseline": "frozen_with_a_name_that_is_long", "arms": arms, "ensembles": [ensemble]}
    lines = printed(summary, width)
    assert not any("…" in line for line in lines)
    for cell in (
        "87.1% (87.6, 86.5)", "0.427 (0.432, 0.421)", "98.2% (98.7, 97.6)", "11.1 (11.1, 11.1)", "12, 13", "11.17 M", "ensemble",
        "-1.0, p = 0.031 and p = 0.5", "trainable", "seconds", "status", "accuracy", "val accuracy", "90.0%", "finished",
    ):  # fmt: skip
        assert any(cell in line for line in lines), cell
    for name in arms:  # folded, never cut
        assert any(name in line for line in lines) or {name[:28], name[28:]} <= set(" ".join(lines).split())
    assert not any("…" in line for line in printed(summary, 40))


def test_ensemble_is_compared_with_its_members_by_the_metric_of_the_table() -> None:
    def tested(auroc: float) -> dict[str, float]:
        return {"accuracy": 0.99, "f1": 0.5, "exact_match": 0.5, "auroc": auroc, "loss": 0.4}

    runs = {str(seed): {**trained(0.9, 0.9, seed), "folder": f"a-s{seed}", "test": tested(0.7 + seed / 5)} for seed in (0, 1)}
    ensemble = {
        "name": "a", "average": "probabilities", "of": "seeds", "test": {name: mean_of(value) for name, value in tested(0.85).items()},
        "validation": None, "member_accuracy": 0.98,
        "runs": [{"seed": None, "fold": None, "members": ["a-s0", "a-s1"], "why_none": "", "test": tested(0.85), "validation": None}],
    }  # fmt: skip
    arm = {
        "seeds": runs,
        "train": {},
        "test": {name: mean_of(value) for name, value in tested(0.8).items()},
        "gap": mean_of(0.0),
    }
    summary: dict[str, Any] = {"recipe": "r", "arms": {"a": arm}, "ensembles": [ensemble]}
    said = [line.rstrip() for line in printed(summary) if line.startswith("ensemble")]
    assert said == ["ensemble   a (mean of seeds): AUROC 0.850, its members 0.800 on average (+0.050)"]
    del runs["1"]["test"]["auroc"]  # its images do not define it
    assert not [line for line in printed(summary) if line.startswith("ensemble")]


def test_train_accuracy_in_result_json_is_that_of_the_best_epoch(toy_recipe: Path) -> None:
    summary = dict(api.apply(toy_recipe, ["seeds=[0, 1, 2]"], runs=toy_recipe.parent / "runs", offline=True).result)
    (arm,) = summary["arms"].values()
    gaps = []
    for run in arm["seeds"].values():
        lines = (toy_recipe.parent / "runs" / "toy" / run["folder"] / "metrics.jsonl").read_text().splitlines()
        best = json.loads(lines[run["best_epoch"] - 1])
        assert run["train"] == best["train"]
        assert run["gap"] == best["train"]["accuracy"] - best["test"]["accuracy"]
        gaps.append(run["gap"])
    half = student.ppf(0.975, 2) * statistics.stdev(gaps) / 3**0.5
    expected = {"mean": statistics.fmean(gaps), "low": max(statistics.fmean(gaps) - half, -1), "n": 3}
    assert {key: arm["gap"][key] for key in expected} == pytest.approx(expected)
    assert arm["train"]["accuracy"]["mean"] == pytest.approx(arm["test"]["accuracy"]["mean"] + arm["gap"]["mean"])


def test_baseline_s_column_has_the_difference_with_its_interval_and_p_value() -> None:
    def arm(**more: Any) -> dict[str, Any]:
        return {"seeds": {"0": trained(0.9, 0.8)}, "test": {"accuracy": mean_of(0.8), "loss": mean_of(0.5)}, **more}

    runs = [{"fold": None, "p": p} for p in (0.0312, 0.5)]
    sure = {"mean": 0.021, "low": 0.004, "high": 0.038, "p": 0.0123, "runs": runs}
    unsure = {"mean": -0.01, "low": None, "high": None, "p": None, "runs": runs}
    folds = {**unsure, "runs": [{"fold": 1, "p": 0.5}]}
    alike = {**unsure, "runs": [{"fold": None, "p": 0.5}] * 3}
    arms = {
        "base": arm(),
        **{name: arm(difference=each) for name, each in zip("abcd", (sure, unsure, folds, alike), strict=True)},
    }
    lines = printed({"recipe": "r", "baseline": "base", "arms": arms}, 200)
    at = lines[1].index("against base (points)")
    cells = {line.split()[0]: line[at - 10 : at + 22].strip() for line in lines[2:7]}
    assert cells["d"] == "-1.0, p = 0.5"
    assert cells["a"] == "+2.1 (+0.4 to +3.8), p = 0.012"
    assert cells["b"] == "-1.0, p = 0.031 and p = 0.5"
    assert cells["c"] == "-1.0"
    assert cells["base"] == ""
    said = printed({"recipe": "r", "baseline": "base", "arms": {"a": arm()}})
    assert any(line.startswith("baseline   base has no finished run") for line in said)


def test_arms_that_are_not_compared_with_the_baseline_are_named() -> None:
    """Of other test images, or of images of several classes, there is no difference."""

    def arm(status: str = "finished", **more: Any) -> dict[str, Any]:
        run = {**trained(0.9, 0.8), "status": status}
        return {"seeds": {"0": run}, "test": {"accuracy": mean_of(0.8), "loss": mean_of(0.5)}, **more}

    difference = {"mean": -0.01, "low": None, "high": None, "p": None, "runs": [{"fold": None, "p": 0.5}]}
    arms = {"base": arm(), "a": arm(), "b": arm(difference=difference), "c": arm("failed"), "d": arm()}
    (said,) = (line for line in printed({"recipe": "r", "baseline": "base", "arms": arms}, 200) if line.startswith("baseline"))
    assert said.rstrip() == (
        "baseline   a, d: not compared with base; that takes runs of the same seed on the same images, with one class each"
    )
    assert not [line for line in printed({"recipe": "r", "arms": arms}, 200) if line.startswith("baseline")]


@pytest.mark.parametrize(
    ("scores", "heads", "cells"),
    [
        ({"accuracy": 1.0, "map": 0.0386, "map50": 0.185}, ["mAP", "loss", "val", "mAP"], ["0.039", "1.637", "0.039"]),
        ({"accuracy": 0.92, "dice": 0.0, "auroc": 0.05}, ["Dice", "loss", "val", "Dice"], ["0.000", "1.637", "0.000"]),
        ({"accuracy": 0.98, "exact_match": 0.5, "auroc": 0.7}, ["AUROC", "loss", "val", "AUROC"], ["0.700", "1.637", "0.700"]),
        ({"accuracy": 0.98, "exact_match": 0.5}, ["loss"], ["1.637"]),  # AUROC of one class is not defined
    ],
)
def test_columns_are_of_the_metric_that_the_task_is_judged_by(
    scores: dict[str, float], heads: list[str], cells: list[str]
) -> None:
    """A detector that finds nothing has 100 % accuracy of the places where there is nothing."""
    known = scores | {"loss": 1.637}
    run = trained(0.5, 1.0) | {"validation": known, "test": known, "select_by": "loss"}
    arm = {"seeds": {"0": run}, "test": {name: mean_of(value) for name, value in known.items()}, "gap": mean_of(-0.5)}
    title, header, row, *notes = printed({"recipe": "r", "arms": {"a": arm | {"train": {"accuracy": mean_of(0.5)}}}})
    assert header.split()[2:] == [*heads, "epoch", "trainable", "seconds", "status"]
    assert row.split()[2 : 2 + len(cells)] == cells
    assert title.strip().startswith(f"r: test {heads[0] if len(heads) > 1 else 'AUROC'} and loss of the best epoch by ")
    assert not any("accuracy" in line for line in notes)


def test_the_threshold_of_masks_stands_once_after_the_metrics_of_all_arms() -> None:
    known = {"loss": 1.0, "accuracy": 0.9, "dice": 0.5, "iou": 0.4, "sensitivity": 0.5, "specificity": 0.9}
    run = trained(0.5, 1.0) | {"validation": known, "test": known, "select_by": "dice"}
    arm = {"seeds": {"0": run}, "test": {name: mean_of(value) for name, value in known.items()}, "gap": mean_of(-0.5)}
    arm |= {"train": {"accuracy": mean_of(0.5)}}
    lines = printed({"recipe": "r", "arms": {"a": arm, "b": arm}})
    assert [line.split()[0] for line in lines if line.startswith(("metrics", "threshold"))] == [
        "metrics",
        "metrics",
        "threshold",
    ]

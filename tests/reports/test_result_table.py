"""The table of a recipe's results: no empty column, best arm first."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tlkit import api
from tlkit.reports import tables


def printed(summary: dict[str, Any]) -> list[str]:
    console = Console(width=150)
    with console.capture() as captured:
        console.print(tables.result(summary))
    return captured.get().splitlines()


def applied(recipe: Path, *settings: str) -> list[str]:
    return printed(dict(api.apply(recipe, [*settings, "schedule.epochs=1"], runs=recipe.parent / "runs", offline=True).result))


def test_without_test_images_their_columns_are_left_out(toy_recipe: Path) -> None:
    title, header, row, *_ = applied(toy_recipe, "data.split.fractions=[0.8, 0.2, 0.0]")
    assert title.rstrip() == "toy: the best epoch by validation; there are no test images"
    assert header.split() == ["arm", "seeds", "val", "accuracy", "epoch", "trainable", "seconds", "status"]
    assert len(row.split()) == 7


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
            "seed": 0, "skipped_images": 0, "exact": True, "warnings": [],
        }  # fmt: skip
        mean = {"mean": score, "low": None, "high": None}
        return {"seeds": {"0": run}, "test": {"accuracy": mean, "loss": mean} if tested else {}}

    lines = printed({"recipe": "r", "arms": {"low": arm(0.2), "high": arm(0.9), "middle": arm(0.5)}})
    assert [line.split()[0] for line in lines[2:5]] == ["high", "middle", "low"]

"""How far a run is that is carried out elsewhere, as the lines of its folder tell."""

import json
from pathlib import Path
from typing import Any

import pytest

from tlkit.events import Elsewhere
from tlkit.run.remote_progress import RemoteProgress


@pytest.mark.parametrize(
    ("by", "held_out", "shown"),
    [
        ("accuracy", {"validation": {"loss": 1.5, "accuracy": 0.9}}, {"validation loss": 1.5, "validation accuracy": 0.9}),
        ("accuracy", {}, {"train loss": 2.5, "train accuracy": 0.9}),
        ("map", {"validation": {"loss": 1.5, "accuracy": 1.0, "map": 0.04}}, {"validation loss": 1.5, "validation mAP": 0.04}),
        (
            "iou",
            {"validation": {"loss": 1.5, "accuracy": 0.9, "dice": 0.5, "iou": 0.4}},
            {"validation loss": 1.5, "validation IoU": 0.4},
        ),
        (
            "auroc",
            {"validation": {"loss": 1.5, "accuracy": 0.9, "exact_match": 0.2, "f1": 0.3}},
            {"validation loss": 1.5, "validation F1": 0.3},
        ),
        ("map", {"test": {"loss": 1.5, "accuracy": 1.0, "map": 0.04}}, {"train loss": 2.5}),
    ],
)
def test_a_saved_epoch_is_told_with_the_metric_that_its_run_is_shown_by_here(
    tmp_path: Path, by: str, held_out: dict[str, Any], shown: dict[str, float]
) -> None:
    told: list[Elsewhere] = []
    progress = RemoteProgress(told.append)
    progress.add("main, seed 0", tmp_path, epochs=3, by=by)
    line = {
        "epoch": 1, "phase": 1, "train": {"loss": 2.5, "accuracy": 0.9}, "validation": None, "test": None, "seconds": 1.0,
        "images_per_second": 9.0, "lr": {"head": 0.1}, "best": True,
    }  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line | held_out) + "\n")
    progress.look()
    assert told[-1].scores == shown

"""tlkit: a recipe, and `tlkit apply`.

What the clock sees is more than for the others: the recipe is read, pictures and weights are hashed, weights loaded, every epoch
saved, result and curves written.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.peers import contract
from benchmarks.peers.contract import Spec

_LAST = {"resnet18": "layer4", "efficientnet_lite0": "top", "mobilenet_v2": "top"}


def recipe(work: Spec) -> dict[str, Any]:
    """Return the recipe of a piece of work."""
    arms = {"head": {"backbone": True}, "last": {"backbone": True, _LAST[work.network]: False}, "all": {}}
    groups = {"head": {"head": work.lr}, "last": {_LAST[work.network]: work.lr, "head": work.lr}}
    views = {"augment": ["random_crop", "hflip"], "augment_views": work.views} if work.views else {}
    return {
        "format": 1,
        "name": "peer",
        "seeds": [work.seed],
        "evaluation": {"test": "every"},  # as everyone evaluates; by itself it may leave that to the end
        "backbone": {"name": work.network, "weights": work.state},
        "data": {
            "name": "folder",
            "image_size": work.side,
            "batch_size": work.batch_size,
            "options": {"path": work.images},
            "split": {"validation": 0.0},  # train/ is all trained on, val/ is evaluated after each epoch
            **views,
        },
        "freeze": arms[work.arm],
        "lr_groups": groups.get(work.arm, {"backbone": work.lr, "head": work.lr}),
        "optimizer": {"name": "sgd", "momentum": work.momentum},
        "schedule": {"name": "constant", "epochs": work.epochs},
        **({"precision": "bfloat16"} if work.tuned else {}),  # as the others are told it
    }


def main() -> None:
    """Run the command line in this process, after the imports that it would make anyway."""
    from torchmetrics.functional import classification  # noqa: F401  # as the docstring says

    from tlkit.cli import app
    from tlkit.reports import (
        tables,  # noqa: F401  # likewise
    )

    work = contract.spec()
    scratch = Path(work.scratch)
    path = scratch / f"peer-{work.seed}.toml"
    path.write_text(tomli_w.dumps(recipe(work)), encoding="utf-8")
    os.environ["TLKIT_CACHE"] = work.cache
    sys.argv = ["tlkit", "apply", str(path), "--runs", str(scratch / "runs"), "--offline", "--json"]
    clock, printed = contract.Clock(), io.StringIO()
    threading.Thread(target=_tell, args=(clock, scratch / "runs"), daemon=True).start()
    with contextlib.redirect_stdout(printed):
        try:
            app.main()
        except SystemExit as done:
            if done.code:
                raise
    ((folder, run),) = _runs(scratch / "runs" / "peer", json.loads(printed.getvalue()), str(work.seed))
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    plan = json.loads((folder / "plan.json").read_text())
    compute_formats = {"form": plan.get("compute_format"), "prefix": [phase.get("fixed") for phase in plan["phases"]]}
    clock.answer(
        [epoch["test"]["accuracy"] for epoch in epochs],
        run["versions"],
        compute_formats=compute_formats,
        epoch_seconds=[epoch["seconds"] for epoch in epochs],
    )


def _tell(clock: contract.Clock, runs: Path) -> None:
    """Tell every epoch that the run has written, within a fifth of a second, for a runner that ends it."""
    while True:
        for file in runs.glob("*/*/metrics.jsonl"):
            for number in range(file.read_bytes().count(b"\n")):
                clock.reach(f"epoch {number + 1}")
        time.sleep(0.2)


def _runs(folder: Path, result: Mapping[str, Any], seed: str) -> list[tuple[Path, dict[str, Any]]]:
    run = result["arms"]["main"]["seeds"][seed]
    return [(folder / run["folder"], run)]


if __name__ == "__main__":
    main()

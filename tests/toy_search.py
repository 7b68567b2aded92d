"""A search that is written by hand: six trials, of which one is pruned, one failed, and one has a key that the others do not have."""

import json
from pathlib import Path

from tlkit.record.search_record import SearchRecord, SpaceRecord, TrialRecord

SPACE = (
    SpaceRecord(key="lr_groups.head", kind="log", low=1e-4, high=1e-2),
    SpaceRecord(key="optimizer.name", kind="values", values=("sgd", "adamw", "adam")),
    SpaceRecord(key="optimizer.momentum", kind="float", low=0.5, high=0.9),
)


def record(folder: str = "main-s0-00000000", **changed: object) -> SearchRecord:
    """Return the search; its trial 0 is the run of a folder."""
    trials = (
        trial(0, 0.70, {"lr_groups.head": 1e-3, "optimizer.name": "adamw"}, folder=folder),
        trial(1, 0.80, {"lr_groups.head": 1e-2, "optimizer.name": "adamw"}, loss=0.5),
        trial(2, 0.80, {"lr_groups.head": 1e-4, "optimizer.name": "adam"}, loss=0.4),
        trial(3, 0.95, {"lr_groups.head": 1e-4, "optimizer.name": "sgd", "optimizer.momentum": 0.7}, status="pruned"),
        trial(
            4, None, {"lr_groups.head": 1e-4, "optimizer.name": "sgd", "optimizer.momentum": 0.9}, status="failed", error="<no>"
        ),
        trial(5, 0.80, {"lr_groups.head": 1e-4, "optimizer.name": "adam"}, loss=0.4, same_as=2),
    )
    made = SearchRecord(
        study="s", arm="main", best_arm="main-best", seed=0, metric="accuracy", maximize=True, sampler="tpe", pruner="median",
        space=SPACE, trials=trials, best=2, importance={"lr_groups.head": 0.75, "optimizer.name": 0.25}, importance_of=3,
    )  # fmt: skip
    return made.model_copy(update=changed)


def trial(number: int, value: float | None, values: dict[str, object], **more: object) -> TrialRecord:
    """Return a trial of three epochs."""
    given = {"status": "finished", "epochs": 3, "loss": 0.9, "folder": f"main-s0-{number}", **more}
    return TrialRecord(number=number, value=value, values=values, **given)


def into(recipe_folder: Path, folder: str) -> None:
    """Write the search into the results of a recipe, with one of its runs as trial 0."""
    path = recipe_folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"search": record(folder).model_dump(mode="json")}))

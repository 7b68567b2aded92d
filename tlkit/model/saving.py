"""A Model to a folder and to a recipe. No pickle: TOML, JSON and safetensors, as a run's folder has them.

The rule: a saved model is read by everything that reads a run: `tlkit predict FOLDER`, `weights = "run:FOLDER"`, `tlkit.load`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from tlkit import files
from tlkit.engine import estimators, row_keys
from tlkit.engine.estimators import FittedHead
from tlkit.errors import RunFolderError, TlkitError
from tlkit.events import Epoch
from tlkit.model.fits import Fitted
from tlkit.network import weights
from tlkit.network.network import Network
from tlkit.plans import jobs
from tlkit.plans.plan import Plan
from tlkit.plans.resolve import Resolved
from tlkit.recipe.defaults import differences
from tlkit.recipe.recipe import FORMAT, Arm, arm_toml
from tlkit.record import run_folder
from tlkit.record.run_folder import Parameters, RunResult


def save(
    folder: Path,
    *,
    arm: Arm,
    resolved: Resolved,
    plan: Plan,
    network: Network,
    classes: Sequence[str],
    seed: int,
    epochs: Sequence[Epoch],
) -> None:
    """Write a model so that `tlkit.load` and everything that reads a run can read it.

    Args:
        folder: Made where it is not there; an earlier save of a model in it is replaced.
        arm: Its tables, paths absolute.
        resolved: The same, resolved.
        plan: Of the network.
        network: With its weights.
        classes: Names in output order.
        seed: Of the model.
        epochs: Of its last fit.

    Raises:
        RunFolderError: the folder holds something else, a run for instance.
        TlkitError: it cannot be written.
    """
    _refuse_other(folder)
    tensors = weights.export(network, resolved.backbone, linear=resolved.head.fits(resolved.backbone))
    known = {
        "format": FORMAT, "digest": "", "batch_size": 32, "image_size": list(resolved.image_size),
        "precision": "float32", "memory_format": "contiguous", "classes": list(classes), "input": asdict(resolved.convention),
        "prefixes": [],
    }  # fmt: skip
    header = {"format": FORMAT, "name": "model", "seeds": [seed]}
    best = max((epoch for epoch in epochs if epoch.best), key=lambda epoch: epoch.epoch, default=None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / run_folder.WEIGHTS, weights.to_bytes(tensors, {"classes": json.dumps(list(classes))}))
        if isinstance(network.head, FittedHead):
            files.replace(folder / run_folder.SOLVED, estimators.to_bytes(network.head))
        files.replace(folder / run_folder.RECIPE, tomli_w.dumps(header | arm_toml(arm)))
        files.replace(folder / run_folder.RESOLVED, tomli_w.dumps(known))
        files.replace(folder / run_folder.METRICS, "".join(json.dumps(epoch.record()) + "\n" for epoch in epochs))
        result = RunResult(
            recipe="model", arm="main", seed=seed, status="finished", digest="",
            validation=None if best is None or best.validation is None else dict(best.validation),
            test=None if best is None or best.test is None else dict(best.test),
            best_epoch=None if best is None else best.epoch, epochs=len(epochs),
            parameters=Parameters(total=plan.total, trained=plan.trained), versions=row_keys.versions(),
        )  # fmt: skip
        run_folder.write(folder, result)
    except OSError as error:
        raise files.unwritable(folder, error) from error


def write_recipe(file: Path, last: Fitted | None, *, seed: int) -> None:
    """Write the last fit as a recipe whose `apply` trains to the same bits.

    Args:
        file: The recipe; its name is the recipe's.
        last: The last fit; None where there was none.
        seed: Of the model.

    Raises:
        TlkitError: no recipe can say what was fitted, or the file cannot be written.
    """
    if last is None:
        raise TlkitError("Model.to_recipe: nothing was fitted yet.", "a recipe says which images are trained on: model.fit(..)")
    if last.refusal:
        raise TlkitError(f"Model.to_recipe: {last.refusal}")
    if last.began is None:
        raise TlkitError(
            "Model.to_recipe: the last fit began from weights that are not on disk.",
            'model.save(FOLDER) before it; the recipe then begins with weights = "run:FOLDER"',
        )
    own = last.job.resolved.arm.backbone.weights
    text = _recipe_text(
        jobs.absolute_arm(last.job), name=file.stem, seed=seed, weights_from=None if last.began == own else last.began
    )
    try:
        files.replace(file, text)
    except OSError as error:
        raise files.unwritable(file, error) from error


def _refuse_other(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise TlkitError(f"Model.save: {folder}: is a file.", "a folder, which is made where it is not there")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    saved = run_folder.read(folder)
    if saved is None:
        raise RunFolderError(f"Model.save: {folder}: is not empty, and holds no saved model.", "another folder")
    if saved.digest:
        raise RunFolderError(f"Model.save: {folder}: is a run of the recipe {saved.recipe}.", "another folder")


def _recipe_text(arm: Arm, *, name: str, seed: int, weights_from: str | None) -> str:
    """Return an arm as a recipe that says only what differs from a default.

    Args:
        arm: Its paths absolute.
        name: Of the recipe.
        seed: Its one seed.
        weights_from: What it begins from, in the place of its own weights.
    """
    tables = _without_none(differences(arm.model_dump(mode="json")))
    if weights_from is not None:
        tables["backbone"]["weights"] = weights_from
    tables.setdefault("schedule", {})["epochs"] = arm.schedule.epochs
    return tomli_w.dumps({"format": FORMAT, "name": name, "seeds": [seed], **tables})


def _without_none(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value)
        if isinstance(value, Mapping)
        else [_plain(each) for each in value]
        if isinstance(value, list)
        else value
        for key, value in tables.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    return _without_none(value) if isinstance(value, Mapping) else value

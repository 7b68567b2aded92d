"""A Model to a folder and to a recipe. No pickle: TOML, JSON and safetensors, as a run's folder has them.

The rule: a saved model is read by everything that reads a run: `tlkit predict FOLDER`, `weights = "run:FOLDER"`, `tlkit.load`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from tlkit import files
from tlkit.engine import estimators, row_keys
from tlkit.engine.estimators import FittedHead
from tlkit.engine.images import decode
from tlkit.errors import RunFolderError, TlkitError
from tlkit.events import Epoch
from tlkit.model import own_network
from tlkit.model.fits import Fitted
from tlkit.model.inputs import MEMORY
from tlkit.model.seen_data import Seen
from tlkit.model.setup import UNTRAINED, Setup
from tlkit.network import tensor_files, weights
from tlkit.network.network import Network
from tlkit.plans import jobs
from tlkit.plugin import Backbone, provenance, registry
from tlkit.recipe import parsing
from tlkit.recipe.defaults import differences
from tlkit.recipe.recipe import FORMAT, Arm, arm_toml
from tlkit.record import epoch_lines, long_lists, run_files, run_folder, trained_data
from tlkit.record.run_folder import Parameters, RunResult

State = Literal["new", "compiled", "changed"]
# Tables of a recipe that freeze and compile fill.
LEARNING = frozenset({"freeze", "lr_groups", "optimizer", "schedule", "loss", "precision"})


@dataclass(frozen=True)
class _Known:
    state: State
    epochs: int
    trained_on: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)


@dataclass
class Standing:
    """Where a model stands between two calls of fit.

    Attributes:
        state: "new" before it is compiled, "compiled", or "changed" where what is frozen changed since.
        optimizer: The optimizer's state by name, which the next fit goes on from; {} where it begins anew.
        epochs: Trained so far; order and augmentation of the next fit go on from there.
    """

    state: State = "new"
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    epochs: int = 0


def save(
    folder: Path,
    setup: Setup,
    network: Network,
    standing: Standing,
    *,
    classes: Sequence[str],
    last: Fitted | None,
    epochs: Sequence[Epoch],
    seen: Seen,
) -> None:
    """Write a model so that `tlkit.load` and everything that reads a run can read it.

    Args:
        folder: Made where it is not there; an earlier save of a model in it is replaced.
        setup: The model's tables.
        network: The network with its weights.
        standing: What the next fit goes on from.
        classes: Names in output order.
        last: The last fit; None where there was none.
        epochs: Of the last fit.
        seen: The data sets of all fits.

    Raises:
        RunFolderError: the folder holds something else, a run for instance.
        TlkitError: it cannot be written.
    """
    _refuse_other(folder)
    resolved, places = setup.resolved(where="Model.save", more=UNTRAINED)
    job = last.job if last is not None else setup.job(resolved, places, where="Model.save")
    arm = jobs.absolute_arm(replace(job, resolved=replace(job.resolved, arm=_arm(setup, job.resolved.arm, standing))))
    plan = setup.plan(len(classes), compiled=standing.state == "compiled")
    own_network.refuse_other_modules(network, plan.parameters, where="Model.save")
    tensors = weights.export(network, resolved.backbone, linear=resolved.head.fits(resolved.backbone))
    known = {
        "format": FORMAT, "digest": "", "batch_size": 32, "image_size": list(resolved.image_size),
        "precision": "float32", "memory_format": "contiguous", "classes": list(classes), "input": asdict(resolved.convention),
        "decoding": decode.described(arm.data, resolved.convention), "prefixes": [],
        "model": {"state": standing.state, "epochs": standing.epochs, **trained_data.record(seen.fits)},
        "plugins": {
            "backbone": provenance.of(resolved.backbone, arm.backbone.name).record(),
            "head": provenance.of(resolved.head, arm.head.kind).record(),
        },
    }  # fmt: skip
    split = dict(last.split) if last is not None else {}
    if last is not None and split:  # the images can be found again, and are the same as long as their content is
        known["inputs"] = dict(last.job.inputs)
    header = {"format": FORMAT, "name": "model", "seeds": [setup.seed]}
    best = max((epoch for epoch in epochs if epoch.best), key=lambda epoch: epoch.epoch, default=None)
    solved = estimators.to_bytes(network.head) if isinstance(network.head, FittedHead) else None
    optimizer = weights.to_bytes(standing.optimizer, {}) if standing.optimizer else None
    positions = b"".join([*long_lists.pieces(split), b"\n"]) if split else None
    try:
        files.make_folder(folder)
        files.replace(folder / run_folder.WEIGHTS, weights.to_bytes(tensors, {"classes": json.dumps(list(classes))}))
        others = {run_folder.SOLVED: solved, run_folder.OPTIMIZER: optimizer, run_folder.SPLIT: positions}
        for path, content in ((folder / name, content) for name, content in others.items()):
            if content is None:  # of an earlier save
                path.unlink(missing_ok=True)
            else:
                files.replace(path, content)
        files.replace(folder / run_folder.RECIPE, tomli_w.dumps(header | arm_toml(arm)))
        run_folder.write_resolved(folder, known)
        epoch_lines.write(folder, (epoch.record() for epoch in epochs))
        result = RunResult(
            recipe="model", arm="main", seed=setup.seed, status="finished", digest="",
            train=None if best is None else dict(best.train),
            validation=None if best is None or best.validation is None else dict(best.validation),
            test=None if best is None or best.test is None else dict(best.test),
            best_epoch=None if best is None else best.epoch, select_by=plan.select_by, epochs=len(epochs),
            parameters=Parameters(total=plan.total, trained=plan.trained), versions=row_keys.versions(), files=run_files.record(folder),
        )  # fmt: skip
        run_folder.write(folder, result)
    except OSError as error:
        raise _unwritable("Model.save", folder, error) from error


def standing(folder: Path, arm: Arm) -> Standing:
    """Return where a saved model stands; a run's network has counted its epochs, and its optimizer begins anew.

    Args:
        folder: Of the model or the run.
        arm: That it was trained with.

    Raises:
        RunFolderError: it is damaged.
    """
    found = run_folder.resolved(folder).get("model")
    if found is None:
        result = run_folder.read(folder)
        return Standing("compiled", {}, arm.data.initial_epoch + (result.epochs if result is not None else 0))
    try:
        known = TypeAdapter(_Known).validate_python(found)
    except ValidationError as error:
        raise RunFolderError(f"{folder / run_folder.RESOLVED}: is damaged: its table [model] cannot be used.") from error
    run_files.check(folder, (run_folder.OPTIMIZER,))
    path = folder / run_folder.OPTIMIZER
    return Standing(known.state, tensor_files.read(path).tensors if path.is_file() else {}, known.epochs)


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
        raise _unwritable("Model.to_recipe", file, error) from error


def _unwritable(where: str, path: Path, error: OSError) -> TlkitError:
    return TlkitError(f"{where}: {path}: cannot be written: {error.strerror or error}.", "another place, or make room there")


def _refuse_other(folder: Path) -> None:
    if os.path.exists(folder) and not folder.is_dir():
        raise TlkitError(f"Model.save: {folder}: is a file.", "a folder, which is made where it is not there")
    if not os.path.isdir(folder) or not any(folder.iterdir()):
        return
    saved = run_folder.read(folder)
    if saved is None:
        raise RunFolderError(f"Model.save: {folder}: is not empty, and holds no saved model.", "another folder")
    if saved.digest:
        raise RunFolderError(f"Model.save: {folder}: is a run of the recipe {saved.recipe}.", "another folder")


def _arm(setup: Setup, fitted: Arm, standing: Standing) -> Arm:
    """The last fit's arm, with what was said of freezing and learning since."""
    tables = {**setup.tables, "data": {"name": MEMORY}}
    if "schedule" in tables and standing.state == "compiled":
        tables["schedule"] = {**tables["schedule"], "epochs": fitted.schedule.epochs}
    (now,) = parsing.build({"format": FORMAT, "name": "model", **tables}, where="Model.save").arms.values()
    return fitted.model_copy(update={name: getattr(now, name) for name in LEARNING})


def _recipe_text(arm: Arm, *, name: str, seed: int, weights_from: str | None) -> str:
    """Return an arm as a recipe that says only what differs from a default.

    Args:
        arm: Its paths absolute.
        name: Of the recipe.
        seed: Its one seed.
        weights_from: What it begins from, in the place of its own weights.
    """
    tables = _without_none(differences(arm.model_dump(mode="json")))
    if (
        "dropout" in arm.head.options and registry.get(Backbone, arm.backbone.name).dropout
    ):  # its default is not the same everywhere
        tables.setdefault("head", {}).setdefault("options", {})["dropout"] = arm.head.options["dropout"]
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

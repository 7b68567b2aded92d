"""Inspect the images of a prepared run, and keep what is found beside the runs of its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tlkit import tasks
from tlkit.engine.images.parts import Part
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, RecipeError, TlkitError, reason, setting
from tlkit.events import Observer
from tlkit.inspection import embedding, inspecting
from tlkit.inspection.inspected import Inspected
from tlkit.plans import arm_weights, choices, dataset_facts, jobs, resolve
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Backbone
from tlkit.recipe.recipe import Arm, arm_toml
from tlkit.record import findings
from tlkit.record.findings import Findings, Thumbnails
from tlkit.run.preparation import Prepared
from tlkit.sources.places import Places

Embeds = Literal["always", "stored", "never"]

_SHARE = 0.03  # of the work of the runs, which inspecting their images takes at most
_NOT_LOOKED_FOR = "near duplicates, labels and outliers are not looked for"
_AGAIN = "tlkit inspect RECIPE tries again"
# Tables that only say how something is trained.
_TRAINING = ("optimizer", "loss", "early_stopping", "select_by", "also", "adapt")

_OF_TRAINING = ("augment", "augment_views", "image_sizes", "tile_size")  # keys of [data] that have no part in embedding


def frozen(arm: Arm, *, solved: bool) -> Arm:
    """Return an arm whose images a frozen backbone embeds as they are: nothing of it is trained, no image is augmented or refused.

    Args:
        arm: Of a recipe.
        solved: Whether its head is fitted at once; a linear one takes its place.
    """
    tables = {name: table for name, table in arm_toml(arm).items() if name not in _TRAINING}
    head = tables["head"]
    if solved:
        head = {"kind": "linear"} | {name: head[name] for name in ("embed", "pooled") if name in head}
    data = {name: value for name, value in tables["data"].items() if name not in _OF_TRAINING}
    if arm.data.image_sizes is not None:
        data["image_size"] = arm.data.image_sizes[-1].size  # of held-out images
    changed = {
        "head": {name: value for name, value in head.items() if name not in ("aux_weight", "start")},
        "data": data | {"on_corrupt": "skip", "on_overlap": "warn"},
        "freeze": {"backbone": True},
        "lr_groups": {"head": 1e-3},
        "schedule": {"name": "constant", "epochs": 1},
    }
    return Arm.model_validate(tables | changed)


def job_of(resolved: Resolved, *, seed: int, places: Places, runs: Path, where: str) -> tuple[Job, str]:
    """Return the run that embeds the images of an arm, which is never carried out, and why its weights cannot be had; "" if they can.

    Args:
        resolved: The arm.
        seed: Of the split.
        places: Where to look for images and weights.
        runs: Folder for run folders.
        where: Begins every message.

    Raises:
        RecipeError: the images cannot be had.
    """
    arm = frozen(resolved.arm, solved=resolved.head.solve != "")
    again = partial(resolve.resolve_arm, name=resolved.name, recipe=resolved.recipe, places=places, where=where)
    try:
        return jobs.plan_job(again(arm), seed, places, runs=runs, where=where), ""
    except RecipeError as error:
        if arm.backbone.weights == "none":
            raise
        random = arm.model_copy(update={"backbone": arm.backbone.model_copy(update={"weights": "none"})})
        job = jobs.plan_job(again(random), seed, places, runs=runs, where=where)
        problem = error.problems[0]
        hint = f"; {problem.hints[0]}" if problem.hints else ""
        return job, f"{_NOT_LOOKED_FOR}: {problem.problem.rstrip('.')}{hint}"


def inspect(prepared: Prepared, runtime: Runtime, *, embeds: Embeds, note: str = "") -> tuple[Findings, Thumbnails]:
    """Return what the images of a run hold, and the thumbnails that it names.

    Args:
        prepared: The run.
        runtime: Where they are embedded.
        embeds: Whether the images are compared by embeddings: "always", for a run as `frozen` makes it; where the run has "stored"
            those of all of them; or "never".
        note: Why the images are not embedded; "" for the usual reason.
    """
    plan = prepared.plan
    found = prepared.job.found["data"]
    images = Inspected(_parts(prepared), prepared.images.classes, found.root if found.files else None)
    why = "" if _embeds(plan, embeds) else note or _why_not(plan, prepared.job.resolved.backbone)
    embedded = None
    if not why:
        backbone = prepared.job.resolved.network_plugins.backbone
        network = prepared.start.get().to(runtime.device)
        embedded = embedding.embed(network, backbone, plan, prepared.train, prepared.evaluated, runtime)
        prepared.start.release()
    known = _known(prepared)
    known = replace(known, notes=(why,)) if why else replace(known, embedded=_network(plan))
    return inspecting.inspect(images, replace(known, classes=_counted(images)), embedded)


def keep(folder: Path, runs: Sequence[Prepared], runtime: Runtime) -> None:
    """Inspect the images of a recipe's runs, and keep what is found in its folder; a failure is told and takes no result away.

    Embeddings are compared where a run has stored those of all images and comparing them takes at most 3 % of the runs' work. What failed
    is kept too, so it is not tried again before a run is trained or `tlkit inspect` asks for it.

    Args:
        folder: runs/<recipe>.
        runs: That were carried out.
        runtime: Where they were; its observer is told of a failure.
    """
    most = _SHARE * sum(choices.work(each.plan) for each in runs)
    able = [each for each in runs if _embeds(each.plan, "stored") and inspecting.work(each.plan) <= most]
    trained = [each for each in runs if each.plan.tables.backbone.weights != "none"]
    chosen = (able or trained or list(runs))[0]
    before = findings.load(folder)
    if before is not None and before[0].content == chosen.job.content and (before[0].embedded or not able):
        return
    attempts: list[Embeds] = ["stored", "never"] if able else ["never"]
    found, why = _tried(chosen, attempts, replace(runtime, observer=Observer()))
    _save(folder, found, why, runtime.observer)


def keep_failure(folder: Path, job: Job, error: TlkitError, *, observer: Observer) -> None:
    """Keep that the images of a recipe's finished runs cannot be read again, so that no other `apply` tries it.

    Args:
        folder: runs/<recipe>.
        job: One of the runs.
        error: What happened.
        observer: Told of it.
    """
    why = _words(error)
    _save(folder, _failed(_named(job), why), why, observer)


def _save(folder: Path, found: tuple[Findings, Thumbnails], why: str, observer: Observer) -> None:
    """Write inspection.npz, and tell what failed; "" for nothing."""
    if why:
        observer.note(f"{folder}: the inspection of its images failed: {why}; {_AGAIN}")
    try:
        findings.save(folder, *found)
    except OSError as error:
        observer.note(f"{folder / findings.FILE}: is not written: {reason(error)}")


def _tried(prepared: Prepared, attempts: Sequence[Embeds], runtime: Runtime) -> tuple[tuple[Findings, Thumbnails], str]:
    """Inspect the images of a run in the first way that does not fail.

    Returns:
        What is found, or what is known without; its notes say what failed. And why the last of those failed that did; "" where none did.
    """
    why = ""
    for embeds in attempts:
        note = f"{_NOT_LOOKED_FOR}: {why}; {_AGAIN}" if why else ""
        try:
            return inspect(prepared, runtime, embeds=embeds, note=note), why
        except Interrupted:
            raise
        except Exception as error:  # whatever it is, the runs are finished and their results stay
            why = _words(error)
    return _failed(_known(prepared), why), why


def _parts(prepared: Prepared) -> dict[str, Part]:
    every = {"train": prepared.train, **prepared.evaluated.parts}
    return {name: part for name, part in every.items() if name in ("train", "validation", "test")}


def _known(prepared: Prepared) -> Findings:
    """Return what is known of the images of a run before one looks at them."""
    return replace(
        _named(prepared.job),
        parts={name: len(part.indices) for name, part in _parts(prepared).items()},
        classes={name: {} for name in prepared.images.classes},
        corrupt=tuple(prepared.decoded.skipped),
    )


def _named(job: Job) -> Findings:
    """Return what is known of the images of a run that is not prepared."""
    found = job.found["data"]
    folder = str(found.root) if found.files and not job.resolved.dataset.inside else ""
    return Findings(job.resolved.arm.data.name, folder, job.content, parts={}, classes={}, left_out=dataset_facts.unused(found))


def _failed(known: Findings, why: str) -> tuple[Findings, Thumbnails]:
    return replace(known, notes=(f"the images are not compared: {why}; {_AGAIN}",)), np.zeros((0, 0, 0, 3), np.uint8)


def _words(error: Exception) -> str:
    return error.problem.removesuffix(".") if isinstance(error, TlkitError) else reason(error)


def _embeds(plan: Plan, embeds: Embeds) -> bool:
    if plan.tables.backbone.weights == "none" or embeds == "never":
        return False
    return embedding.stored(plan) if embeds == "stored" else embedding.possible(plan)


def _why_not(plan: Plan, backbone: Backbone) -> str:
    if plan.tables.backbone.weights == "none":
        why, weights = f"{_NOT_LOOKED_FOR}: the backbone has random weights", arm_weights.trained(backbone)
        trained = setting(f'backbone.weights="{weights}"')
        return why if weights == "none" else f"{why}; {trained} compares by trained ones"
    return f"{_NOT_LOOKED_FOR}: tlkit inspect RECIPE does, which takes longer"


def _network(plan: Plan) -> str:
    return f"{plan.tables.backbone.name} ({plan.tables.backbone.weights}), stage {plan.stages[plan.depth - 1].name}"


def _counted(images: Inspected) -> dict[str, dict[str, int]]:
    """Return the images of each class, by part."""
    found: dict[str, dict[str, int]] = {name: {} for name in images.classes}
    for part, each in images.parts.items():
        targets = each.pictures.split.targets[each.indices]
        kind = tasks.understanding(targets)[0].targets
        for name, count in zip(images.classes, kind.count(targets, len(images.classes)), strict=True):
            found[name][part] = count
    return found

"""What the benchmark of advice measures: one configuration of the grid, advice within a budget, and a probe of every network.

The rule: seconds are processor time of this process, which trains with one thread, so they say the same on a busy machine. The grid and
advice have a cache each: neither reads what the other decoded, embedded or measured.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from benchmarks.advice_sets import ImageSet
from tlkit import machine
from tlkit.advice import advising, arms, asking
from tlkit.advice.budget import Budget
from tlkit.advice.candidates import Named
from tlkit.engine.runtime import Runtime
from tlkit.errors import TlkitError
from tlkit.plans import jobs, resolve
from tlkit.plugin import Backbone, registry
from tlkit.record import predictions
from tlkit.record.advice import Advice, Candidate
from tlkit.run import execution, shared_choices, shared_pictures, torch_settings
from tlkit.run.signals import watching
from tlkit.sources.places import Places

EPOCHS, BATCH = 6, 16  # of every run that takes steps: 450 images are about 150 of them
RATES = (1.0, 0.3)
_CPU = torch.device("cpu")
Line = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where the benchmark of one set works.

    Attributes:
        work: Folder of everything that can be made again.
        name: Of the set.
        chosen: The set.
        offered: Networks and their weights, as a recipe names them.
    """

    work: Path
    name: str
    chosen: ImageSet
    offered: Mapping[str, str]

    @property
    def images(self) -> Path:
        """The folder of its images."""
        return self.work / "sets" / self.name


def grid(place: Place) -> dict[str, dict[str, Any]]:
    """Return the arms of a set's grid by name, "NETWORK-WAY" and "NETWORK-WAY_x0.3"."""
    least = min(sum(1 for _ in each.iterdir()) for each in (place.images / "train").iterdir())
    found = {}
    for backbone, weights in place.offered.items():
        stages = tuple(registry.get(Backbone, backbone).stages)
        base = _base(place, backbone)
        size = base["data"]["image_size"]
        plain = Candidate(backbone, weights, (size, size), best=stages[-1], likeness="similar", fit="the same for every set")
        for way in arms.ways(base, plain, stages=stages, single=True, least=least):
            for rate in (1.0,) if way.solved else RATES:
                tried = way if rate == 1.0 else way.faster(rate)
                found[f"{backbone}-{tried.name}"] = tried.at(split=None, epochs=EPOCHS)
    return found


def trained(place: Place, arm: str) -> Line:
    """Train one configuration of the grid and test it."""
    recipe = place.work / f"{place.name}.toml"
    _write(recipe, place.name, {"arms": grid(place)})
    seconds, right = _run(place, recipe, arm)
    return {"what": arm, "network": arm.partition("-")[0], "seconds": seconds, "right": right}


def advised(place: Place, *, budget: float) -> Line:
    """Ask for advice within a budget of processor seconds, follow it, and test what comes of it."""
    begun = place.work / "cache" / f"advice-{place.name}.begun"
    if begun.is_file():  # killed before: what it stored would make this one look cheaper
        shutil.rmtree(place.work / "cache" / "advice", ignore_errors=True)
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text("advice on this set has begun\n")
    found, seconds = _advice(place, budget=budget, tries=True)
    expected = found.expected[0] if found.expected else None
    told = {} if expected is None else {"expected": expected.accuracy, "interval": list(expected.interval)}
    _, right = _run(place, Path(found.recipe), None)
    begun.unlink()
    best = found.candidates[0]
    return {
        "what": "all", "budget": budget, "seconds": seconds, **told, "network": best.backbone, "way": found.way, "sentence": found.sentence,
        "trials": [[each.name, each.rung, each.images, each.accuracy] for each in found.trials], "notes": list(found.notes), "right": right,
    }  # fmt: skip


def probed(place: Place) -> Line:
    """Probe every network with all scores; after advice, whose outputs it reads."""
    found, seconds = _advice(place, budget=3600.0, tries=False)
    networks = {
        each.backbone: {
            "top1": each.top1, "best": each.best, "likeness": each.likeness, "accuracy": each.stage(each.best).accuracy,
            "neighbours": each.stage(each.best).neighbours, "sample": found.sample, "rank": each.rank, **each.scores,
            "stages": [[stage.name, stage.accuracy, stage.error, stage.neighbours, stage.drift] for stage in each.stages],
        }
        for each in found.candidates
        if each.stages
    }  # fmt: skip
    return {"what": "all", "seconds": seconds, "least": found.least[0], "classes": found.classes, "networks": networks}


def _base(place: Place, backbone: str) -> dict[str, Any]:
    """Return the tables that all configurations of a network share."""
    size = min(place.chosen.size, registry.get(Backbone, backbone).image_size)
    return {
        "backbone": {"name": backbone, "weights": place.offered[backbone]},
        "data": {"name": "folder", "image_size": size, "batch_size": BATCH, "augment": ["random_crop", "hflip"],
                 "options": {"path": str(place.images)}},
        "precision": "float32",  # nothing is measured, which for runs this short would cost as much as they do
        "optimizer": {"name": "adamw"}, "schedule": {"name": "one_cycle", "epochs": EPOCHS},
    }  # fmt: skip


def _write(recipe: Path, name: str, tables: Mapping[str, Any]) -> None:
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(tomli_w.dumps({"format": 1, "name": name, "evaluation": {"test": "end"}, **tables}))


def _run(place: Place, recipe: Path, arm: str | None) -> tuple[float, str]:
    """Train an arm without a report or an inspection of the images; return processor seconds and which test images are right."""
    runs = place.work / "runs"
    shutil.rmtree(runs, ignore_errors=True)  # of a run that was killed: going on with it would look cheaper
    began = time.process_time()
    with _cache(place.work / "cache" / "grid"), watching() as watch, machine.kept_blocks, torch_settings.applied(_CPU):
        places = Places(recipe=recipe.parent, offline=True)
        read, resolved = resolve.load(recipe, (), places)
        (chosen,) = [each for name, each in resolved.items() if arm in (None, name)]
        job = jobs.plan_job(chosen, read.seeds[0], places, runs=runs, where=str(recipe))
        runtime = Runtime(_CPU, watch=watch)
        prepared = shared_pictures.prepare(job, {}, runtime)
        (prepared,) = shared_choices.share(
            [prepared], jobs.settings({chosen.name: chosen}), job.folder.parent, runtime, evaluation=read.evaluation
        )
        execution.execute(prepared, runtime)
    seconds = time.process_time() - began
    answers = predictions.answers(job.folder, "test")
    if answers is None:
        raise TlkitError(f"{job.folder}: has no predictions of test images.")
    return seconds, "".join("01"[int(each)] for each in answers.right[np.argsort(answers.index)])


def _advice(place: Place, *, budget: float, tries: bool) -> tuple[Advice, float]:
    """Ask for advice on a recipe with the grid's data and schedule; return it with its processor seconds."""
    recipe, runs = place.work / f"{place.name}-asked.toml", place.work / "advice-runs"
    _write(recipe, f"{place.name}-asked", next(iter(grid(place).values())))
    shutil.rmtree(runs, ignore_errors=True)
    allowed = Budget(budget, clock=time.process_time)
    with _cache(place.work / "cache" / "advice"), watching() as watch, torch_settings.applied(_CPU):
        places = Places(recipe=recipe.parent, offline=True)
        read, resolved = asking.read(recipe, (), places)
        found = advising.advise(
            asking.source(recipe, read, resolved, None, places),
            [Named(backbone, weights, asked=True) for backbone, weights in place.offered.items()],
            place.work / f"{place.name}-{'advised' if tries else 'probed'}.toml",
            Runtime(_CPU, watch=watch),
            budget=allowed,
            runs=runs if tries else None,
            scores=not tries,
        )
    return found, allowed.spent


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Let tlkit keep what it computes in a folder."""
    before = os.environ.get("TLKIT_CACHE")
    os.environ["TLKIT_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TLKIT_CACHE"]
        else:
            os.environ["TLKIT_CACHE"] = before

"""The recipe that a Model stands for: its tables, and what they are resolved to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlkit import tasks
from tlkit.compiler import compiler
from tlkit.errors import RecipeError, TlkitError
from tlkit.model import progress
from tlkit.model.classes import Classes
from tlkit.model.inputs import MEMORY, Given, whole
from tlkit.network import weights
from tlkit.network.network import Network
from tlkit.plans import dataset_images, job_inputs, jobs, resolve
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.jobs import Job
from tlkit.plans.plan import ImagesPlan, Plan
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Convention, Dataset, Images, Split
from tlkit.recipe import maps, naming, parsing
from tlkit.recipe.maps import HEAD
from tlkit.run import start_network, torch_settings
from tlkit.sources import weight_files
from tlkit.sources.places import Places

Tables = dict[str, Any]
# Keys of [data] that say how a picture reaches the network, whichever data set it is of.
INPUT_KEYS = ("image_size", "channels", "fit", "max_pixels", "crop", "scale_to", "tile_size", "ignore")
_RATES = {"lr_groups": {"backbone": 1e-3, HEAD: 1e-3}}  # before compile, when rates mean nothing
UNTRAINED: Tables = {"freeze": {}, **_RATES}
EPOCHS = 10  # where nothing is said, as in the recipe
_CLASSES = 2  # stands in where the first fit will say how many there are
_IN_MEMORY = Dataset(read="tlkit.model.setup:Setup", summary="images in memory")


@dataclass
class Setup:
    """Tables of a recipe with one arm, and where its relative paths begin.

    Attributes:
        tables: The arm's.
        places: Where data and weights are looked for.
        seed: Of random weights, data order and augmentation.
        device: The device that the network is on.
        scaling: The preprocessing of images of bands as the first fit measured it; None before, and of colour pictures.
    """

    tables: Tables
    places: Places
    seed: int
    device: torch.device
    scaling: Convention | None = None

    @property
    def bands(self) -> int | None:
        """Number of bands of the images; None of colour pictures."""
        bands = self.tables["data"].get("channels")
        return bands if type(bands) is int else None

    def resolved(self, *, where: str, more: Tables | None = None, given: Given | None = None) -> tuple[Resolved, Places]:
        """Resolve the tables, with others over them, and images that were given in the place of [data].

        Raises:
            TlkitError: with every problem of the tables.
        """
        places, dataset = self.places, None
        tables = {**_RATES, **self.tables, **(more or {})}
        tables["data"] = {"name": MEMORY, **tables["data"]}
        if given is not None:
            tables["data"]["name"] = given.name
            if given.folder is not None:
                places = replace(places, data=given.folder)
        if tables["data"]["name"] == MEMORY:
            dataset = _IN_MEMORY
        recipe = parsing.build({"format": 1, "name": "model", "seeds": [self.seed], **tables}, where=where)
        resolved = next(iter(resolve.resolve(recipe, places, where=where, dataset=dataset).values()))
        if self.scaling is not None:
            resolved = replace(resolved, convention=self.scaling, trained=self.scaling)
        if "lr_groups" not in {*self.tables, *(more or {})}:  # the rates stand in, and nobody gave them
            resolved = replace(resolved, unused=tuple(line for line in resolved.unused if not line.startswith("lr_groups:")))
        return resolved, places

    def untrained(self, *, where: str) -> Resolved:
        """Resolve the tables without what is frozen and how fast the rest learns, for what does not depend on it."""
        return self.resolved(where=where, more=UNTRAINED)[0]

    def several(self) -> bool:
        """Return whether an image may have several classes: the head's task takes one column of targets per class."""
        task = tasks.get(self.untrained(where="Model").head.task)
        return task.targets.holds(np.zeros((1, 2), np.uint8))

    def check_images(self, x: object, *, where: str) -> None:
        """Refuse images in memory where the head learns from masks or boxes, which only a data set has.

        Raises:
            TlkitError: x is neither a folder nor the name of a data set.
        """
        wanted = tasks.get(self.untrained(where=where).head.task).targets
        if wanted.whole and x is not None and not isinstance(x, str | os.PathLike):
            kind, example = self.tables["head"]["kind"], "segmentation_folder" if wanted.masks else "coco"
            raise TlkitError(
                f"{where}: x is no data set, and the {kind} head learns {wanted.words}, which images in memory do not have.",
                f'a data set by its name: "{example}", options={{"path": ..}}',
            )

    def check_keys(self, keys: Sequence[object], *, where: str) -> None:
        """Refuse keys of [freeze] that are none of this network, before any is taken.

        Raises:
            TlkitError: a key is no text, or owns no parameter.
        """
        if not all(isinstance(key, str) for key in keys):
            raise TlkitError(
                f"{where}: is given {', '.join(map(repr, keys))}.",
                'stage names, one after the other: model.freeze("stem", "layer1")',
            )
        resolved = self.untrained(where=where)
        stages = tuple(resolved.backbone.stages)
        wanted = {str(key): False for key in keys}
        names = maps.names_only(resolved.backbone.stages, wanted, {}, aux_heads=resolved.backbone.aux_heads)
        divided = maps.divide(names, stages, wanted, {"backbone": 1.0, HEAD: 1.0}, epochs=1)
        name = self.tables["backbone"]["name"]
        wrong = maps.problems(divided, stages=stages, freeze=wanted, rates={}, backbone=name, tensors=False)
        found = [each for each in wrong if each.problem.startswith("freeze.")]
        if found:
            raise RecipeError(each.at(where) for each in found)

    def job(self, resolved: Resolved, places: Places, *, where: str) -> Job:
        """Find data and weights, downloading what is missing."""
        return replace(jobs.plan_job(resolved, self.seed, places, runs=Path("runs"), where=where), called=where)

    @torch_settings.usual()
    def plan(self, classes: int | None, *, compiled: bool = True) -> Plan:
        """Plan what is known without data.

        Args:
            classes: How many; None where that is not known.
            compiled: The tables say how fast everything that trains learns; else the plan's rates mean nothing.
        """
        length = least_epochs(self.tables["freeze"], {})
        rates = None if compiled else {**_RATES, "schedule": {"name": "constant", "epochs": length}}
        resolved, _ = self.resolved(where="Model", more=rates)
        facts = DataFacts(classes or _CLASSES, ImagesPlan(0, 0, 0, "unknown"))
        return compiler.compile_plan(resolved, facts, where="Model", device=self.device)

    @torch_settings.usual()
    def network(self, classes: Classes) -> Network:
        """Build the network with the weights that it starts from; the number of classes is known."""
        resolved, places = self.resolved(where="Model")
        job = self.job(resolved, places, where="Model")
        return start_network.build(job, self.plan(classes.count), Images(classes.names, {}), observer=progress.Notes()).to(
            self.device
        )

    def names_of_run(self) -> tuple[str, ...]:
        """Return the class names of the run that the weights are of; () where they are of none."""
        path = self._weights_of_run()
        return weights.class_names(path) if path is not None else ()

    def run(self) -> Path | None:
        """Return the folder of the run that the weights are of; None where they are of none."""
        path = self._weights_of_run()
        return None if path is None else path.parent

    def _weights_of_run(self) -> Path | None:
        if not self.tables["backbone"]["weights"].startswith(weight_files.RUN):
            return None
        resolved, places = self.resolved(where="Model", more=UNTRAINED)
        return job_inputs.local_weights(resolved, places)

    def images(self, given: Given, job: Job) -> tuple[Images, Job]:
        """Return the images of a call, and the job for them."""
        if given.images is not None:
            return given.images, replace(job, content=_content(given.images))
        with naming.named(job.resolved.where):
            return dataset_images.images(job.resolved, job.found["data"]), job

    def validated(self, images: Images, job: Job, held_out: Given) -> tuple[Images, Job]:
        """Return images with those of `validation_data` in the split "validation", and the job for them."""
        other = self.every_image(held_out, where="Model.fit: validation_data")
        if not set(other.classes) <= set(images.classes):
            raise TlkitError(
                "Model.fit: validation_data has other classes than x.",
                f"x has {', '.join(images.classes[:10])}", f"validation_data has {', '.join(other.classes[:10])}",
            )  # fmt: skip
        held = whole(dataset_images.renumbered(other, images.classes))
        both = Images(images.classes, {**images.splits, "validation": held})
        return both, replace(job, content=_content(both))

    def every_image(self, given: Given, *, where: str) -> Images:
        """Return all images of a folder, or those in memory, in the split "train"."""
        if given.images is not None:
            return given.images
        data = {"data": {"split": {"fractions": [1.0, 0.0, 0.0]}}}
        resolved, places = self.resolved(where=where, more=data, given=given)
        found = self.job(resolved, places, where=where).found["data"]
        with naming.named(where):
            return dataset_images.images(resolved, found)


def least_epochs(freeze: Mapping[str, Any], schedule: Mapping[str, Any]) -> int:
    """Return epochs in which every phase and the warm-up have room; how many there are, fit says."""
    frozen = [value.get("epochs", value.get("gradual")) for value in freeze.values() if isinstance(value, dict)]
    lengths = [*frozen, schedule.get("warmup_epochs", 0)]
    return max([EPOCHS, *(int(length) + 1 for length in lengths if isinstance(length, int | float))])


def input_keys(table: Mapping[str, Any]) -> Tables:
    """Return of a table [data] what says how a picture reaches the network: of several sizes the last, which held-out images have."""
    sizes = table.get("image_sizes")
    last = {} if sizes is None else {"image_size": sizes[-1]["size"]}
    return {key: value for key, value in table.items() if key in INPUT_KEYS} | last


def _content(images: Images) -> str:
    """Digest images in memory: what is measured for some is not taken for others."""
    digest = hashlib.sha256()
    for name, split in images.splits.items():
        digest.update(f"{name}\0{split.targets.shape}".encode() + split.targets.tobytes())
        for each in _bytes(split):
            digest.update(each)
    return digest.hexdigest()


def _bytes(split: Split) -> list[bytes] | map[bytes]:
    if split.pixels is None:
        return [str(file).encode() for file in split.files]
    return map(bytes, map(np.ascontiguousarray, split.pixels))

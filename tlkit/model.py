"""A network with Keras's verbs: compile, fit, evaluate, predict, embed, summary.

The rule: a Model only builds a recipe, its argument names are the TOML's keys, and training is what `apply` does, in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from tlkit.compiler import compiler
from tlkit.engine.evaluate import evaluate
from tlkit.engine.images import decode
from tlkit.engine.images.parts import Library, Part
from tlkit.errors import RecipeError, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.network import weights
from tlkit.network.network import Network
from tlkit.plans import dataset_facts, jobs, resolve
from tlkit.plans.plan import DataFacts, ImagesPlan, Plan
from tlkit.plans.resolve import Resolved
from tlkit.plugin import Dataset, Images, registry
from tlkit.recipe import parsing
from tlkit.recipe.maps import HEAD
from tlkit.reports import tables
from tlkit.run import executor, preparation
from tlkit.run.prediction import Predictor
from tlkit.sources.places import Places
from tlkit.tasks import metrics

Tables = dict[str, Any]
Rates = Mapping[str, float | Mapping[str, float]]
_EPOCHS = 10  # where nothing is said, as in the recipe


class Model:
    """A backbone and a head.

    Args:
        backbone: A name that `tlkit list` shows.
        weights: A name the plugin offers, "none", a file, or "run:PATH".
        head: A head's name, or the recipe's table [head].
        input: How pixels reach the network, where the weights do not say it: "torch", "caffe", or the recipe's table.
        classes: Length of the output.
        image_size: Side of the input, pixels, or (height, width); the backbone's usual size where not given.
        seed: Of random weights, data order and augmentation.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.

    Raises:
        TlkitError: a name is wrong, or the weights cannot be had.
    """

    def __init__(
        self, backbone: str, *, weights: str = "none", head: str | Mapping[str, Any] = "linear", classes: int,
        image_size: int | Sequence[int] | None = None,
        input: str | Mapping[str, Any] | None = None,  # as in the recipe
        seed: int = 0, device: str = "auto", offline: bool = False,
    ) -> None:  # fmt: skip
        _check_count("Model: classes", classes, least=2)
        self.classes = classes
        self.seed = seed
        self._places = Places(recipe=Path.cwd(), offline=offline)
        self._device = executor.device_of(device)
        self._tables: Tables = {"backbone": {"name": backbone, "weights": weights}, "freeze": {}}
        if input is not None:
            self._tables["backbone"]["input"] = _plain(input) if isinstance(input, Mapping) else input
        self._tables["head"] = _plain(head) if isinstance(head, Mapping) else {"kind": head}
        self._tables["data"] = {"name": "synthetic"} | ({"image_size": _plain(image_size)} if image_size is not None else {})
        self._compiled = False
        self._names: tuple[str, ...] = ()
        self._network = self._build().to(self._device)

    @property
    def network(self) -> Network:
        """The torch module itself."""
        return self._network

    def freeze(self, *keys: str, epochs: int | None = None) -> Model:
        """Freeze parts: "backbone", a stage, "head", or a module path.

        Args:
            keys: As in the recipe's [freeze].
            epochs: Only for so many first epochs.

        Raises:
            TlkitError: the model is compiled already.
        """
        return self._freeze(keys, True if epochs is None else {"epochs": epochs})

    def unfreeze(self, *keys: str) -> Model:
        """Let parts train that a wider key froze."""
        return self._freeze(keys, False)

    def compile(
        self, *, optimizer: str | Mapping[str, Any] = "adamw", lr_groups: Rates, schedule: str | Mapping[str, Any] = "one_cycle",
        loss: Mapping[str, Any] | None = None, precision: str = "auto",
    ) -> None:  # fmt: skip
        """Say how fast what is not frozen learns.

        Args:
            optimizer: A name, or the recipe's table [optimizer].
            lr_groups: The recipe's map: key -> peak rate, or a table.
            schedule: A name, or the recipe's table [schedule] without epochs.
            loss: The recipe's table [loss].
            precision: "auto", "float32" or "bfloat16".

        Raises:
            TlkitError: a key owns no parameter, a part that trains has no rate, or the schedule names its epochs.
        """
        shape = _named(schedule)
        if "epochs" in shape:
            raise TlkitError("Model.compile: schedule.epochs belongs to fit.", f"model.fit(.., epochs={shape['epochs']})")
        self._tables |= {
            "optimizer": _named(optimizer),
            "schedule": shape | {"epochs": _enough(self._tables["freeze"], shape)},
            "lr_groups": _plain(lr_groups),
            "loss": _plain(loss or {}),
            "precision": precision,
        }
        self._plan()
        self._compiled = True

    def fit(
        self, data: str | Path, *, epochs: int = _EPOCHS, batch_size: int | str = 32,
        augment: Sequence[str | Mapping[str, Any]] = (), augment_views: int | None = None,
        split: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None, early_stopping: int | None = None,
        observer: Observer | None = None,
    ) -> list[Epoch]:  # fmt: skip
        """Train, and end with the best epoch's weights by validation (accuracy, then loss, then the earlier).

        Args:
            data: A data set's name, or a folder of images.
            epochs: Of the schedule, which begins anew at every call.
            batch_size: Images a step, or "auto".
            augment: The recipe's list data.augment: names, or tables.
            augment_views: Fixed augmented views of each image.
            split: The recipe's table [data.split].
            options: The recipe's table [data.options].
            early_stopping: Epochs without a better one after which it stops.
            observer: Told of what happens.

        Returns:
            One record an epoch: losses, accuracies, seconds, rates.

        Raises:
            TlkitError: not compiled, or images that cannot be used.
            RunFailed: the loss is no longer a number.
        """
        if not self._compiled and not self._known().head.solve:
            raise TlkitError(
                "Model.fit: the model is not compiled.", 'model.compile(lr_groups={"backbone": 1e-4, "head": 1e-2})'
            )
        watcher = observer or Observer()
        table = _plain({"batch_size": batch_size, "augment": augment, "split": split or {}, "options": options or {}})
        table |= {} if augment_views is None else {"augment_views": augment_views}
        stopping = {} if early_stopping is None else {"early_stopping": {"patience": early_stopping}}
        schedule = {"schedule": self._tables.get("schedule", {}) | {"epochs": epochs}}
        resolved, places = self._resolve(data, table, schedule | stopping, where="Model.fit")
        images, job = self._images(resolved, places)
        prepared = preparation.prepare(
            job, library=Library(images, note=watcher.note), images=images, device=self._device, observer=watcher,
            network=self._network,
        )  # fmt: skip
        self._network.positive = prepared.plan.positive
        fit = prepared.learner(device=self._device, observer=watcher)
        history, best = [], {}
        for epoch in fit.epochs():
            history.append(epoch)
            watcher.epoch(epoch)
            if epoch.best:
                with fit.averaged():
                    best = {name: tensor.clone() for name, tensor in self._network.tensors().items()}
        self._network.to(memory_format=torch.contiguous_format)
        with torch.no_grad():
            for name, tensor in self._network.tensors().items():
                tensor.copy_(best[name])
        self._names = images.classes
        return history

    def evaluate(self, data: str | Path, *, options: Mapping[str, Any] | None = None, batch_size: int = 32) -> dict[str, float]:
        """Return loss, accuracy and the other metrics of `tlkit.tasks.metrics.scores` on a data set's test images.

        Args:
            data: A data set's name, or a folder of images.
            options: The recipe's table [data.options].
            batch_size: Images at a time.

        Raises:
            TlkitError: it has no test images, or they cannot be used.
        """
        _check_count("Model.evaluate: batch_size", batch_size, least=1)
        resolved, places = self._resolve(data, {"options": _plain(options or {})}, {}, where="Model.evaluate")
        images, _ = self._images(resolved, places)
        if "test" not in images.splits:
            raise TlkitError(f"Model.evaluate: {data} has no test images.")
        pictures = Library(images).pictures(
            "test", decode.evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
        )
        every = np.arange(len(images.splits["test"].targets))
        corrupt = pictures.prepare(every, progress=lambda done, total: None)
        if corrupt:
            raise next(iter(corrupt.values()))
        part = Part(pictures, every, resolved.convention, self._network.task)
        slices = (every[start : start + batch_size] for start in range(0, len(every), batch_size))
        batches = (
            (part.inputs(chosen, 0, self._device).contiguous(), part.targets(chosen, 0, self._device)) for chosen in slices
        )
        return metrics.scores(evaluate(self._network, self._network, batches, watch=lambda: None))

    def predict(self, images: Sequence[str | Path] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return class probabilities (N, classes) of files, or of (N, H, W, 3) uint8 RGB."""
        return self._predictor().predict(images)

    def embed(
        self, images: Sequence[str | Path] | NDArray[np.uint8], *, at: str | None = None, pooled: bool = True
    ) -> NDArray[np.float32]:
        """Return the output of a stage, the last where none is named: pooled (N, C), else the map (N, C, h, w)."""
        return self._predictor().embed(images, at=at, pooled=pooled)

    def summary(self) -> None:
        """Print stages, parameters, what trains and how fast."""
        Console().print(tables.network(self._plan()))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return every tensor under the names of the library that the backbone comes from, which loads it with strict=True."""
        resolved = self._known()
        return weights.export(self._network, resolved.backbone, linear=resolved.head.fits(resolved.backbone))

    def _freeze(self, keys: Sequence[str], value: bool | Mapping[str, int]) -> Model:
        if self._compiled:
            raise TlkitError(
                "Model.freeze: the model is compiled; what is frozen is part of what was compiled.",
                "freeze first, then compile",
            )
        self._tables["freeze"] |= dict.fromkeys(keys, value)
        return self

    def _build(self) -> Network:
        resolved = self._known()
        job = self._job(resolved, self._places)
        plan = compiler.compile_plan(resolved, self._facts(), where="Model", device=self._device)
        return preparation.build(job, plan, Images(self._names, {}), observer=Observer())

    def _known(self) -> Resolved:
        """The model without its data."""
        return self._resolved(self._tables, self._places, where="Model")

    def _plan(self) -> Plan:
        return compiler.compile_plan(self._known(), self._facts(), where="Model", device=self._device)

    def _facts(self) -> DataFacts:
        return DataFacts(self.classes, ImagesPlan(0, 0, 0, "unknown"))

    def _resolve(self, data: str | Path, table: Tables, more: Tables, *, where: str) -> tuple[Resolved, Places]:
        """Put a data set into the recipe: one by name, or a folder."""
        names = [entry.name for entry in registry.entries(Dataset)]
        places = self._places
        name = str(data) if isinstance(data, str | os.PathLike) else f"a {type(data).__name__}"
        if not registry.offers(Dataset, name):
            if not isinstance(data, str | os.PathLike) or not Path(data).is_dir():
                raise TlkitError(f"{where}: {name} is neither a data set nor a folder.", f"data sets: {', '.join(names)}")
            name, places = "folder", Places(recipe=self._places.recipe, data=Path(data), offline=self._places.offline)
        tables = self._tables | {"data": self._tables["data"] | table | {"name": name}} | more
        return self._resolved(tables, places, where=where), places

    def _resolved(self, tables: Tables, places: Places, *, where: str) -> Resolved:
        unsaid = {"lr_groups": {"backbone": 1e-3, HEAD: 1e-3}}  # before compile, when rates mean nothing
        recipe = parsing.build({"format": 1, "name": "model", "seeds": [self.seed], **unsaid, **tables}, where=where)
        return next(iter(resolve.resolve(recipe, places, where=where).values()))

    def _images(self, resolved: Resolved, places: Places) -> tuple[Images, jobs.Job]:
        job = self._job(resolved, places)
        images = dataset_facts.images(resolved.dataset, job.found, resolved)
        if len(images.classes) != self.classes:
            raise RecipeError(
                [
                    TlkitError(
                        f"Model: has {self.classes} classes, and the images have {len(images.classes)}.",
                        f"Model(.., classes={len(images.classes)})",
                    )
                ]
            )
        return images, job

    def _job(self, resolved: Resolved, places: Places) -> jobs.Job:
        return jobs.plan_job(resolved, self.seed, places, runs=Path("runs"), where="Model")

    def _predictor(self) -> Predictor:
        resolved = self._known()
        names = self._names or tuple(map(str, range(self.classes)))
        geometry = decode.evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
        return Predictor(self._network, names, resolved.convention, geometry, 32, self._device)


def _enough(freeze: Mapping[str, Any], schedule: Mapping[str, Any]) -> int:
    """Epochs in which every phase and the warm-up have room; how many there are, fit says."""
    frozen = [value["epochs"] for value in freeze.values() if isinstance(value, dict)]
    lengths = [*frozen, schedule.get("warmup_epochs", 0)]
    return max([_EPOCHS, *(int(length) + 1 for length in lengths if isinstance(length, int | float))])


def _check_count(what: str, value: object, *, least: int) -> None:
    if not isinstance(value, int | np.integer) or value < least:
        raise TlkitError(f"{what} is {value!r}.", f"a whole number, at least {least}")


def _named(value: object) -> Tables:
    """A table of the recipe; what is no mapping is its name, right or wrong."""
    return _plain(value) if isinstance(value, Mapping) else {"name": value}


def _plain(value: object) -> Any:
    """A value as TOML has it: dict for any mapping, list for a tuple. What cannot be one is left for the recipe to refuse."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value

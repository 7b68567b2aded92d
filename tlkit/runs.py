"""Carrying out a job: train, save after every epoch, continue where it stopped.

The rule: every file is written whole, the checkpoint last, so a run that is stopped anywhere continues from its last epoch.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import tomli_w
import torch

import tlkit
from tlkit import files, planner, plans, runfolder, survey, weights
from tlkit import network as networks
from tlkit.engine import data, decode
from tlkit.engine.data import Evaluated, Library, Part, TrainingPart
from tlkit.engine.fit import Fit
from tlkit.errors import Interrupted, RunFailed, RunFolderError, TlkitError, WeightsError
from tlkit.jobs import Job
from tlkit.network import Network
from tlkit.observer import Epoch, Observer
from tlkit.plans import Plan
from tlkit.plugin import Images
from tlkit.recipe import FORMAT, arm_toml
from tlkit.runfolder import Parameters, RunResult
from tlkit.splits import Chosen

_STATE = "state.safetensors"


@dataclass(frozen=True)
class Prepared:
    """A job's plan and its images, decoded and found sound.

    Attributes:
        plan: What will happen.
        images: The data set.
        train: Training images.
        evaluated: Validation and test images.
        split: Positions by split, and what was skipped: split.json.
        skipped: Images that could not be decoded.
    """

    plan: Plan
    images: Images
    train: TrainingPart
    evaluated: Evaluated
    split: Mapping[str, Any]
    skipped: int


def prepare(job: Job, *, library: Library, images: Images, device: torch.device, observer: Observer) -> Prepared:
    """Split and decode a job's images and make its plan. Nothing is written.

    Raises:
        DataError: an image cannot be decoded, unless the recipe says to skip such.
        RecipeError: the plan cannot be made.
    """
    resolved, table = job.resolved, job.resolved.arm.data
    counted, chosen = survey.facts(resolved, images, seed=job.seed)
    still = decode.still(resolved.image_size, resolved.convention)
    geometry = decode.roomy(resolved.image_size, resolved.convention) if "random_crop" in table.augment else still
    lines: list[str] = []

    def part(split: str, indices: data.Indices, shape: decode.Geometry) -> Part:
        pictures = library.pictures(split, shape)
        kept, skipped = data.sound(pictures, indices, on_corrupt=table.on_corrupt, progress=observer.decoding)
        lines.extend(skipped)
        return Part(pictures, kept, resolved.convention)

    training = part("train", chosen.train, geometry)
    evaluated = _evaluated(images, chosen, lambda split, indices: part(split, indices, still))
    if lines:
        observer.note(f"{len(lines)} images cannot be decoded and are left out; split.json names them")
    sizes = {"train": training, "validation": evaluated.validation, "test": evaluated.test}
    found = {name: 0 if each is None else len(each.indices) for name, each in sizes.items()}
    counted = plans.DataFacts(counted.classes, plans.ImagesPlan(**found, source="counted"))
    if not found["train"]:
        raise TlkitError(f"data: no training image is left: {lines[0]}" if lines else "data: there is no training image.")
    if resolved.arm.early_stopping is not None and not found["validation"]:
        raise TlkitError(
            "early_stopping: there are no validation images to watch.",
            "a larger data.split.validation, or fewer training images",
        )
    plan = planner.make(resolved, counted, where=resolved.recipe, device=device, batch_size=_batch_size(job))
    train = TrainingPart(
        training.pictures, training.indices, resolved.convention, augment=table.augment, side=resolved.image_size, seed=job.seed
    )
    split = {"format": FORMAT, "skipped": lines, **{name: _positions(each) for name, each in sizes.items()}}
    return Prepared(plan, images, train, evaluated, split, len(lines))


def carry_out(
    job: Job, prepared: Prepared, *, device: torch.device, observer: Observer, watch: Callable[[], None]
) -> RunResult:
    """Train a job to its end, from its last saved epoch.

    Raises:
        RunLocked: another process is running it.
        RunFailed: the disk is full, or the loss is no longer a number; what was saved is kept.
        Interrupted: a signal came; what was saved is kept.
        WeightsError: its weights do not fit; nothing was written.
    """
    network = build(job, prepared.plan, prepared.images, observer=observer).to(device)
    fit = Fit(prepared.plan, network, prepared.train, prepared.evaluated, device=device, observer=observer, watch=watch)
    fresh = not job.folder.is_dir()
    try:
        with runfolder.locked(job.folder):
            return _Writer(job, prepared, fit, device, observer).run()
    except OSError as error:
        if fresh and not (job.folder / runfolder.RESULT).is_file():
            shutil.rmtree(job.folder, ignore_errors=True)
        raise RunFailed(
            f"{error.filename or job.folder}: cannot be written: {error.strerror or error}.",
            "make room and run the same command again; it continues from the last saved epoch",
        ) from error


def build(job: Job, plan: Plan, images: Images, *, observer: Observer) -> Network:
    """Build a job's network with the weights it starts from, on the CPU.

    Raises:
        WeightsError: the file does not fit.
    """
    resolved = job.resolved
    network = networks.build(
        resolved.backbone, resolved.head, classes=plan.classes,
        backbone_options=resolved.backbone_options, head_options=resolved.head_options, seed=job.seed,
    )  # fmt: skip
    value, name = resolved.arm.backbone.weights, resolved.arm.backbone.name
    if job.weights is None:
        return network
    if value.startswith("run:"):
        if not weights.load_run_(network, job.weights, backbone=resolved.backbone, name=name, classes=images.classes):
            observer.note(f"{value}: its head is of other classes or another shape; this run's head begins anew")
        return network
    rename = resolved.backbone.weights[value].rename if value in resolved.backbone.weights else ""
    weights.load_(network, job.weights, backbone=resolved.backbone, name=name, rename=rename)
    return network


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import torchvision

    found = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    return {"tlkit": tlkit.__version__, **found}


@dataclass
class _Writer:
    """A run and its folder, held by this process."""

    job: Job
    prepared: Prepared
    fit: Fit
    device: torch.device
    observer: Observer
    seconds: float = 0.0
    exact: bool = True
    scores: Epoch | None = None

    def run(self) -> RunResult:
        done = self.job.result()
        if done is not None and done.status == "finished" and done.digest == self.job.digest:
            return done
        self._begin()
        plan = self.prepared.plan
        self.observer.begin(self.job.label, epochs=plan.epochs, done=self.fit.progress.epochs, steps=plan.steps_per_epoch)
        try:
            for epoch in self.fit.epochs():
                self._save(epoch)
                self.observer.epoch(epoch)
        except Interrupted as error:
            self._result("interrupted")
            raise Interrupted(
                error.exit_code - 128,
                f"{self.job.label}: {error.problem[:-1]} after {self.fit.progress.epochs} of {plan.epochs} epochs, which are saved.",
                *error.hints,
            ) from None
        except RunFailed as error:
            self._result("failed", error=error.problem)
            raise
        finally:
            self.observer.end(self.job.label)
        return self._result("finished")

    def _begin(self) -> None:
        folder, plan = self.job.folder, self.prepared.plan
        state = folder / runfolder.CHECKPOINT / _STATE
        now = self._resolved()
        if state.is_file():
            self._continue(state, now)
            return
        (folder / runfolder.CHECKPOINT).mkdir(exist_ok=True)
        header = {"format": FORMAT, "name": self.job.resolved.recipe, "seeds": [self.job.seed]}
        files.replace(folder / runfolder.RECIPE, tomli_w.dumps(header | self._tables()))
        files.replace(folder / runfolder.RESOLVED, tomli_w.dumps(now))
        files.replace(folder / runfolder.PLAN, plans.to_json(plan))
        files.replace(folder / runfolder.SPLIT, json.dumps(self.prepared.split) + "\n")
        files.replace(folder / runfolder.METRICS, "")
        self._result("running")

    def _continue(self, state: Path, now: dict[str, Any]) -> None:
        """Set everything to what the last epoch saved."""
        folder = self.job.folder
        before = runfolder.resolved(folder)
        result = self.job.result()
        self.exact = before["machine"] == now["machine"] and (result is None or result.exact)
        try:
            kept = weights.metadata(state)
            self.fit.resume_(safetensors.torch.load_file(state), kept["progress"])
            record = json.loads(kept["scores"])
        except (WeightsError, KeyError) as error:
            raise RunFolderError(f"{state}: is damaged: {error}.", "move the run's folder away to begin anew") from error
        self.seconds, self.scores = float(kept["seconds"]), Epoch(**record) if record else None
        lines = [line for line in runfolder.metrics(folder) if line["epoch"] <= self.fit.progress.epochs]
        files.replace(folder / runfolder.METRICS, "".join(json.dumps(line) + "\n" for line in lines))
        self._result("running")
        self.observer.note(
            f"{self.job.label}: continues after epoch {self.fit.progress.epochs}"
            + ("" if self.exact else ", not exactly: the machine, threads or versions changed")
        )

    def _save(self, epoch: Epoch) -> None:
        """Write an epoch: its weights where it is the best, its line, and last the checkpoint."""
        folder = self.job.folder
        self.seconds += epoch.seconds
        if epoch.best:
            self.scores = epoch
            tensors = weights.export(self.fit.network, self.job.resolved.backbone, linear=self.job.resolved.head.linear)
            beside = {"classes": json.dumps(self.prepared.images.classes), "format": "pt"}
            files.replace(folder / runfolder.WEIGHTS, weights.to_bytes(tensors, beside))
        with (folder / runfolder.METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(epoch.record()) + "\n")
        record = asdict(self.scores) if self.scores is not None else {}
        beside = {"progress": self.fit.scalars(), "seconds": str(self.seconds), "scores": json.dumps(record)}
        files.replace(folder / runfolder.CHECKPOINT / _STATE, weights.to_bytes(self.fit.tensors(), beside))

    def _result(
        self, status: Literal["running", "interrupted", "failed", "finished"], *, error: str | None = None
    ) -> RunResult:
        plan, best = self.prepared.plan, self.scores
        result = RunResult(
            recipe=plan.recipe,
            arm=plan.arm,
            seed=self.job.seed,
            status=status,
            digest=self.job.digest,
            exact=self.exact,
            test=dict(best.test) if best is not None and best.test is not None else None,
            validation=dict(best.validation) if best is not None and best.validation is not None else None,
            best_epoch=best.epoch if best is not None else None,
            epochs=self.fit.progress.epochs,
            seconds=round(self.seconds, 3),
            parameters=Parameters(total=plan.total, trained=plan.trained),
            skipped_images=self.prepared.skipped,
            warnings=plan.warnings,
            error=error,
            versions=versions(),
        )
        runfolder.write(self.job.folder, result)
        return result

    def _tables(self) -> dict[str, Any]:
        """The arm's tables, its paths made absolute so that the written recipe can be applied from anywhere."""
        tables = arm_toml(self.job.resolved.arm)
        if tables["data"]["options"].get("path"):
            tables["data"]["options"]["path"] = str(self.job.found.root.resolve())
        value, known = tables["backbone"]["weights"], self.job.resolved.backbone.weights
        if self.job.weights is not None and value not in known:
            path = self.job.weights.resolve()
            tables["backbone"]["weights"] = f"run:{path.parent}" if value.startswith("run:") else str(path)
        return tables

    def _resolved(self) -> dict[str, Any]:
        plan = self.prepared.plan
        machine = {
            "device": str(self.device) if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            **versions(),
        }
        return {
            "format": FORMAT,
            "digest": self.job.digest,
            "batch_size": plan.batch_size,
            "image_size": plan.image_size,
            "precision": "float32",
            "classes": list(self.prepared.images.classes),
            "input": asdict(plan.input),
            "machine": machine,
        }


def _evaluated(images: Images, chosen: Chosen, part: Callable[[str, data.Indices], Part]) -> Evaluated:
    held, test = None, None
    if "validation" in images.splits:
        held = part("validation", np.arange(len(images.splits["validation"].labels)))
    elif len(chosen.validation):
        held = part("train", chosen.validation)
    if "test" in images.splits:
        test = part("test", np.arange(len(images.splits["test"].labels)))
    return Evaluated(
        held if held is not None and len(held.indices) else None, test if test is not None and len(test.indices) else None
    )


def _positions(part: Part | None) -> dict[str, Any]:
    """Where a part's images come from: positions in the data set's arrays, or file names."""
    if part is None:
        return {"count": 0}
    split = part.pictures.split
    kept: dict[str, Any] = {"count": len(part.indices), "positions": part.indices.tolist()}
    if split.files:
        kept["files"] = [str(split.files[index]) for index in part.indices]
    return kept


def _batch_size(job: Job) -> int | None:
    """What batch_size = "auto" came to when the run began."""
    if not (job.folder / runfolder.RESOLVED).is_file():
        return None
    return int(runfolder.resolved(job.folder)["batch_size"])


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

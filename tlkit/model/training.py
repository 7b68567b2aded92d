"""One call of `Model.fit`: what `apply` trains, on the network at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tlkit import tasks
from tlkit.engine.fit import Fit
from tlkit.engine.images.library import Library
from tlkit.engine.learner import Learner
from tlkit.engine.runtime import Runtime
from tlkit.errors import Diverged, RunFailed
from tlkit.events import Epoch, Observer
from tlkit.model import own_network
from tlkit.model.callbacks import Callbacks
from tlkit.network import device_memory
from tlkit.network.network import Network
from tlkit.plans.jobs import Job
from tlkit.plans.plan import ImagesPlan
from tlkit.plugin import Convention, Images
from tlkit.recipe import naming
from tlkit.run import failures, preparation, range_tests


@dataclass
class Training:
    """A run in memory.

    Args:
        job: What is trained.
        images: Its data set.
        network: Changed in place.
        device: The device that the network is on.
        callbacks: Objects with Keras's method names.
        held_out_of: Of what the test images are a part; "" where they are its own, or there are none.

    Attributes:
        epochs: Done.
        stopped: Why it ended early; "" where it did not.
        optimizer: The optimizer's state as it was after the best epoch.
        scaling: The preprocessing of images of bands, whose mean and std were measured; None of colour pictures.
        restored: No epoch is done, and the network has the weights that it began with.
        split: Which images each part has, as split.json of a run.
    """

    job: Job
    images: Images
    network: Network
    device: torch.device
    callbacks: Sequence[object]
    held_out_of: str = ""
    epochs: list[Epoch] = field(default_factory=list)
    stopped: str = ""
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    scaling: Convention | None = None
    restored: bool = False
    split: Mapping[str, Any] = field(default_factory=dict)

    def run(self, model: object, *, shown: Observer, stop: Callable[[], bool], optimizer: Mapping[str, Tensor]) -> None:
        """Train; however it ends, the network then has the best epoch's weights, or where none is done those of the last step.

        Where these are no numbers, it has those that it began with; also where the first epoch diverges.

        Args:
            model: That the callbacks get.
            shown: Told of everything.
            stop: Asked after every epoch.
            optimizer: State that the optimizer begins with; {} for a new one.

        Raises:
            RunFailed: a callback raised, memory ran out, or the loss is no longer a number.
        """
        runtime = Runtime(self.device, shown)
        with naming.named(self.job.resolved.where):
            prepared = preparation.prepare(
                self.job, runtime, library=Library(self.images, note=shown.note), network=self.network
            )
        prepared, _ = range_tests.settled(prepared, runtime)
        plan, self.split = prepared.plan, prepared.split
        own_network.refuse_other_modules(self.network, plan.parameters, where="Model.fit")
        own_network.refuse_unseen_freezing(self.network, plan.parameters)
        shown.note(self._counted(plan.images))
        self.scaling = plan.input if plan.input.channels == "bands" else None
        self.network.positive = plan.positive
        told = Callbacks(self.callbacks, model=model, shown=shown, steps=plan.steps_per_epoch, epochs=plan.epochs)
        fit = prepared.learner(replace(runtime, observer=told))
        if isinstance(fit, Fit) and optimizer:
            fit.continue_optimizer_(optimizer)
        best: dict[str, Tensor] = {}
        first = {name: tensor.to("cpu", copy=True) for name, tensor in fit.changing().items()} if isinstance(fit, Fit) else {}
        told.judged_by(tasks.get(plan.task).judged_by(plan.select_by))
        told.begin(
            "fit", epochs=plan.epochs, done=0, steps=fit.steps, evaluations=fit.evaluations,
            images=plan.batch_size * plan.tables.optimizer.accumulate,
        )  # fmt: skip
        try:
            told.train_begins()
            with failures.memory_in_words(prepared, self.device), closing(fit.epochs()) as epochs:  # type: ignore[type-var]  # both are generators
                for epoch in epochs:
                    self.epochs.append(epoch)
                    if epoch.best:
                        with fit.averaged():
                            best, first = _copies(self.network.tensors()), {}
                        self.optimizer = _copies(fit.optimizer_state()) if isinstance(fit, Fit) else {}
                    told.epoch(epoch)
                    if stop():
                        self.stopped = "a callback set model.stop_training"
                        break
            told.train_ends(self.epochs[-1] if self.epochs else None)
        except BaseException as error:
            had = "those of its best epoch" if best else "those of the last step"
            if not best and (isinstance(error, Diverged) or not _is_sound(fit)):
                best, had, self.restored = first, "those that it had before fit", True
            if isinstance(error, RunFailed):
                error.add_hint_(f"the model's weights are {had}")
            raise
        finally:
            told.end("fit")
            with device_memory.spared():  # a layout changes no answer, and hides no error
                self.network.to(memory_format=torch.contiguous_format)
            with torch.no_grad():
                for name, tensor in self.network.tensors().items():
                    if name in best:
                        tensor.copy_(best[name])
            self.network.requires_grad_(True)  # so that another value is the program's
        if not self.stopped and len(self.epochs) < plan.epochs and isinstance(fit, Fit):
            self.stopped = "early stopping"

    def _counted(self, images: ImagesPlan) -> str:
        """Say how many images of each part there are, and where test images are that nobody named."""
        said = f"images: train {images.train:,}, validation {images.validation:,}, test {images.test:,}"
        return said + (f"; the test images are held out of {self.held_out_of}, which has none" if self.held_out_of else "")


def _is_sound(fit: Learner) -> bool:
    """Return whether losses and weights are finite numbers; False where memory is too short to look, which hides no first error."""
    try:
        return fit.is_sound()
    except (RuntimeError, MemoryError):
        return False


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}

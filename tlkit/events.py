"""Events of a run: what it reports while it prepares, trains and evaluates. Imports no torch.

The rule: everything here may be ignored; an observer changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Metrics = Mapping[str, float]
_OPTIONAL = ("also", "train_evaluated", "times", "target")  # in a line of metrics.jsonl only where there is something to say


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch, as a line of metrics.jsonl holds them.

    Attributes:
        epoch: From 1.
        phase: From 1.
        train: loss (the objective) and accuracy over the epoch's training batches, as the network was at each.
        validation: loss (cross-entropy) and accuracy after the epoch; None without such images.
        test: The same of the test images.
        seconds: Training and evaluation; for a run with a folder also writing the epoch before it.
        images_per_second: Training images only, over the time that training took.
        lr: Per group, of the epoch's last step.
        best: It beats every epoch before it.
        also: The same of other data sets, by the name that the recipe gives them.
        train_evaluated: loss and accuracy on some training images after the epoch, without augmentation and dropout, and the number
            of `images`; None where none are evaluated.
        times: Seconds by kind of work: "storing" the fixed prefix's output, "input" (pictures or stored rows, augmentation), "prefix"
            where its output is not stored, "steps" of what trains, "solving" of embedding and a head that is solved, "evaluation". In a
            run with a folder the first epoch has "decoding" and "trial" (of precisions) too, which were before it and are not in its `seconds`.
        target: Scores of the target of [adapt] that need no label: entropy, snd, bnm, and ami where it decides; None without.
    """

    epoch: int
    phase: int
    train: Metrics
    validation: Metrics | None
    test: Metrics | None
    seconds: float
    images_per_second: float
    lr: Mapping[str, float]
    best: bool
    also: Mapping[str, Metrics] = field(default_factory=dict)
    train_evaluated: Metrics | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    target: Metrics | None = None

    def record(self) -> dict[str, Any]:
        """Return a dict for a line of metrics.jsonl."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL}


@dataclass(frozen=True)
class Elsewhere:
    """What is known of a run that is carried out elsewhere.

    Attributes:
        label: "finetune, seed 0".
        state: What it does, or how it ended.
        epoch: Epochs that are saved.
        epochs: Of the schedule.
        scores: Of the epoch that was just saved, by part and name, "validation accuracy"; empty where none was.
    """

    label: str
    state: Literal["waiting", "running", "finished", "stopped", "failed", "locked"]
    epoch: int
    epochs: int
    scores: Metrics


class Observer:
    """Receives the events of a run; override the methods that you need."""

    def note(self, text: str) -> None:
        """Called with one line that the user should know."""

    def downloading(self, name: str, came: int, whole: int | None) -> bool:
        """Called as a file is downloaded, and last with as much as the whole, also where it was stopped.

        Args:
            name: Of the file.
            came: Bytes that are there, those of an earlier download included.
            whole: Bytes of the file; None where the server does not say.

        Returns:
            Whether it is shown. Where it is not, `note` is called every ten seconds.
        """
        return False

    def decoding(self, done: int, total: int) -> None:
        """Called while images are decoded."""

    def storing(self, done: int, total: int) -> None:
        """Called while outputs of the fixed prefix are computed and stored, with the images done and their total."""

    def testing_rates(self, done: int, total: int) -> None:
        """Called after a step of a range test of learning rates, and with `done` equal to `total` when it ends, however early."""

    def judged_by(self, metric: str) -> None:
        """Called before a run begins, with the metric that its epochs are shown by: "accuracy", "map", "dice", "auroc"."""

    def begin(self, label: str, *, epochs: int, done: int, steps: int, evaluations: int, images: int) -> None:
        """Called when a run begins.

        Args:
            label: "finetune, seed 0".
            epochs: Of the schedule.
            done: Epochs that were finished before.
            steps: Training steps of an epoch.
            evaluations: Evaluation batches of an epoch.
            images: Images of a training step.
        """

    def epoch_begins(self, epoch: int) -> None:
        """An epoch, from 1, is about to be trained."""

    def loss(self, epoch: int, step: int, loss: float) -> None:
        """The mean training loss of an epoch so far was read from the device, before `step` is called for the same step."""

    def step(self, epoch: int, step: int) -> None:
        """Called after a training step, with epoch and step counted from 1."""

    def evaluation(self, epoch: int, batch: int) -> None:
        """Called after an evaluation batch, with epoch and batch counted from 1."""

    def epoch(self, epoch: Epoch) -> None:
        """Called after an epoch is trained and saved."""

    def end(self, label: str) -> None:
        """Called when a run ends, also after an error."""

    def elsewhere(self, run: Elsewhere) -> None:
        """Called of a run that is carried out elsewhere: when it waits, begins, has saved an epoch, and ends."""

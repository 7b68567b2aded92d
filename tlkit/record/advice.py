"""What `tlkit advise` found out about images and networks, as plain data. Imports no torch.

The rule: everything here is plain data. `tlkit/advice/` computes it, `tlkit/reports/` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tlkit.record.domain_advice import DomainAdvice

FORMAT = 4
Likeness = Literal["similar", "dissimilar"]


@dataclass(frozen=True)
class Stage:
    """What one stage of a network tells of the images, and how far its BatchNorm statistics are from theirs.

    Attributes:
        name: The stage.
        accuracy: Of a cross-validated linear head on its pooled output, 0 to 1; see `Advice.unit`.
        error: Standard error of that accuracy.
        neighbours: Accuracy of the nearest neighbours, in the same unit.
        drift: Mean squared Frechet distance of its BatchNorm layers' statistics, in units of the stored variance; None without such.
    """

    name: str
    accuracy: float
    error: float
    neighbours: float
    drift: float | None


@dataclass(frozen=True)
class Candidate:
    """A network that was considered.

    Attributes:
        backbone: Its name.
        weights: As `backbone.weights` of a recipe.
        image_size: Height and width of its input, pixels.
        top1: Published accuracy on ImageNet, percent; None where none is known here.
        parameters: Of its stages; 0 where it was not probed.
        seconds: Of a forward pass of one image, measured on this machine; None where it was not.
        stages: Input to output; () where it was not probed.
        best: The stage that a head reads best.
        likeness: Whether its last stages fit the images; None where it was not probed.
        fit: The same in words.
        sure: Mean probability of the most probable class by the classifier in its own file; None where it has no such.
        rank: What candidates are ordered by, the largest first.
        scores: Transferability scores by name, where they were asked for.
        why_not: Why it was not probed; "" where it was.
    """

    backbone: str
    weights: str
    image_size: tuple[int, int]
    top1: float | None = None
    parameters: int = 0
    seconds: float | None = None
    stages: tuple[Stage, ...] = ()
    best: str = ""
    likeness: Likeness | None = None
    fit: str = ""
    sure: float | None = None
    rank: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    why_not: str = ""

    @property
    def name(self) -> str:
        """Backbone and weights in words; of a file its last part."""
        return f"{self.backbone} ({self.weights.rpartition('/')[2]})"

    def stage(self, name: str) -> Stage:
        """Return one of its stages."""
        return next(each for each in self.stages if each.name == name)


@dataclass(frozen=True)
class Ending:
    """What a trial that was stopped is expected to end with.

    Attributes:
        epochs: That it would have had.
        accuracy: Of its best epoch, 0 to 1, by its curve over the epochs so far.
        interval: 90 % interval of that accuracy.
    """

    epochs: int
    accuracy: float
    interval: tuple[float, float]

    def words(self) -> str:
        """Say it in a few words."""
        low, high = (100 * each for each in self.interval)
        return f"expected to end at {self.accuracy:.1%} ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Trial:
    """A short run that tried a way to train.

    Attributes:
        name: Of the way, "head_first".
        what: In words, after "take NETWORK and".
        rung: From 0; a later one has more images.
        images: Training images.
        epochs: That were trained.
        accuracy: On the validation images, 0 to 1, of the best epoch; of several labels the metric that selects.
        error: Standard error of that accuracy, of the validation images.
        judged: Validation images.
        seconds: That it took.
        folder: The run's.
        solved: No step was taken.
        why_lost: Against the best; "" of the best.
        ending: Of a trial that was stopped before its last epoch, what it is expected to end with; None of one that ended.
    """

    name: str
    what: str
    rung: int
    images: int
    epochs: int
    accuracy: float
    error: float
    judged: int
    seconds: float
    folder: str
    solved: bool = False
    why_lost: str = ""
    ending: Ending | None = None


@dataclass(frozen=True)
class MoreLabels:
    """How the accuracy of a head on stored features grows with the number of images.

    Attributes:
        images: Numbers of images, ascending.
        accuracy: At these, 0 to 1.
        gain: Of twice as many as the most, 0 to 1.
        interval: 95 % interval of that gain.
    """

    images: tuple[int, ...]
    accuracy: tuple[float, ...]
    gain: float
    interval: tuple[float, float]

    def words(self) -> str:
        """Say it in a sentence."""
        low, high = (100 * each for each in self.interval)
        return (
            f"Twice as many labelled images: about {100 * self.gain:+.1f} points for a head on stored features "
            f"(95 % interval {low:+.1f} to {high:+.1f})."
        )


@dataclass(frozen=True)
class Expected:
    """What a whole run of a way to train is expected to come to.

    Attributes:
        name: Of the way.
        accuracy: Its trials, continued to the images of the whole run, 0 to 1.
        interval: 90 % interval of that accuracy.
        seconds: Of the whole run, from the seconds of the furthest trial.
        basis: What the interval is made of.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    seconds: float
    basis: str = ""


@dataclass(frozen=True)
class Advice:
    """The answer of `tlkit advise`.

    Attributes:
        source: The folder or recipe.
        classes: How many there are.
        train: Training images.
        validation: Validation images.
        least: Training images of the smallest class, and its name.
        sample: Training images that were probed.
        unit: What accuracies are: "accuracy", or the metric that stands for it where an image has several labels.
        look: Lines on the images: files that are left out, duplicates, doubtful labels, classes that cannot be judged.
        source_classes: Classes of the images that ImageNet has too.
        candidates: Every network that was considered, the best first.
        order: What the weights are by which networks are ordered.
        quadrant: "few, similar" and so on: the number of images and their likeness to what the best network was trained on.
        sentence: The advice.
        why: Lines with the reasons, which the recipe has as comments.
        recipe: The recipe that was written.
        way: Name of the way to train that it takes.
        trials: Short runs that tried ways to train, in the order in which they were begun; () where none was.
        expected: Of the way that the recipe takes, and of the cheapest within one point of it where that is another.
        more_labels: What more labels would bring; None where that cannot be said.
        budget: Seconds that were allowed.
        seconds: That it took.
        notes: What was left out, and why.
        domains: What is known of a source beside these images, where one is named; None without.
    """

    source: str
    classes: int
    train: int
    validation: int
    least: tuple[int, str]
    sample: int
    unit: str
    look: tuple[str, ...]
    source_classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    quadrant: str
    sentence: str
    why: tuple[str, ...]
    recipe: str
    budget: float
    seconds: float
    way: str = ""
    order: str = ""
    notes: Sequence[str] = ()
    trials: tuple[Trial, ...] = ()
    expected: tuple[Expected, ...] = ()
    more_labels: MoreLabels | None = None
    domains: DomainAdvice | None = None

    def record(self) -> dict[str, Any]:
        """Return what --json prints."""
        return {"format": FORMAT, **asdict(self)}

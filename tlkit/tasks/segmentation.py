"""Segmentation: every pixel has a class. Of two classes the head gives one logit, and the second class is the positive one.

The rule: a pixel whose class is `IGNORED` counts for nothing: not in the loss, not in what is correct, not in a metric.

Evaluation keeps a row of numbers of each image, not its logits: how often each class was taken for each, the sum of the loss, and
of two classes how the logits of their pixels are distributed. So the memory that it needs does not grow with the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.plugin.masks import IGNORED, MaskFile
from tlkit.recipe import augmentations
from tlkit.recipe.recipe import Arm
from tlkit.tasks import mask_metrics, mask_rows, named_classes
from tlkit.tasks.task import Metric, Predictions, Reduction, Rows, Targets, Task, objects, one_stratum

if TYPE_CHECKING:
    from torch import Tensor

_GAMMA = 2.0  # of the focal loss: Lin et al. 2017, arXiv:1708.02002
_SMOOTH = 1.0  # pixels added to both sides of Dice's fraction, so that an image without the class has a gradient


# ---- targets: (N,) of MaskFile


def problem(targets: Rows, classes: int) -> tuple[str, ...]:
    """Say that there are too many classes; values are looked at when the files are read."""
    return () if classes <= IGNORED else (f"{classes} classes are too many for masks", f"at most {IGNORED}")


def count(targets: Rows, classes: int) -> tuple[int, ...]:
    """Return all images for every class: each may show it."""
    return (len(targets),) * classes


def renumber(targets: Rows, numbers: Sequence[int], classes: int) -> Rows:
    """Give every class another number; masks that differ in nothing are returned as they are.

    Raises:
        TlkitError: the classes have other numbers, or some are missing.
    """
    if list(numbers) == list(range(classes)):
        return targets
    raise TlkitError("masks: have other classes than the images that are trained on, or in another order.", "the same classes")


def batch(targets: Rows) -> Tensor:
    """Masks are decoded beside their pictures and are tensors already: see `Part.masks`.

    Raises:
        TypeError: always.
    """
    raise TypeError("masks are decoded as pictures are")


def mix(own: Tensor, other: Tensor, shares: Tensor, classes: int) -> Tensor:
    """Masks are not mixed.

    Raises:
        TypeError: always; a recipe that mixes is refused before.
    """
    raise TypeError("masks are not mixed")


def example(shape: Sequence[int]) -> Tensor:
    """Return masks (n, h, w) uint8 whose pixels go through the classes in turn."""
    import torch

    count, classes, height, width = shape
    return (torch.arange(count * height * width) % classes).to(torch.uint8).reshape(count, height, width)


MASKS = Targets(
    "a class for every pixel", "(N,) of tlkit.plugin.MaskFile", partial(objects, MaskFile), problem, one_stratum, count, renumber, batch, mix,
    example, masks=True,
)  # fmt: skip


# ---- outputs


def outputs(classes: int) -> int:
    """Return 1 of two classes, the logit of the second; else one for each class."""
    return 1 if classes == 2 else classes


def expand(logits: Tensor, positive: int) -> Tensor:
    """Return logits (n, classes, h, w); one logit z becomes two, 0 and z, whose cross-entropy is the binary one of z."""
    import torch

    return torch.cat((torch.zeros_like(logits), logits), 1) if logits.shape[1] == 1 else logits


# ---- loss


def loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the cross-entropy, mean over the pixels that count; weighted, still by their number; 0 where none counts."""
    return _cross_entropy(logits, targets, weights, smoothing=smoothing, reduction="sum") / counts(targets).clamp_min(1)


def counts(targets: Tensor) -> Tensor:
    """Return how many pixels count."""
    return (targets != IGNORED).sum()


def dice_loss(logits: Tensor, targets: Tensor, weights: Tensor | None, whole: Callable[[Tensor], Tensor]) -> Tensor:
    """Return 1 - Dice of probabilities over all pixels of the batch that count; of two classes of the second, else the mean.

    With several processes it is over the pixels of all of them.

    Source: Milletari et al. 2016, arXiv:1606.04797, with the sum of probabilities in the denominator.
    """
    import torch
    from torch.nn import functional

    there = (targets != IGNORED)[:, None].float()  # (n, 1, h, w)
    known = functional.one_hot(targets.long().where(targets != IGNORED, 0), logits.shape[1]).movedim(-1, 1).float() * there
    shares = torch.softmax(logits, 1) * there
    over = (0, 2, 3)
    both, each = whole(torch.stack([(shares * known).sum(over), shares.sum(over) + known.sum(over)])).unbind()
    dice = (2 * both + _SMOOTH) / (each + _SMOOTH)  # (classes,)
    return 1 - (dice[1] if len(dice) == 2 else dice.mean())


def focal_loss(logits: Tensor, targets: Tensor, weights: Tensor | None, whole: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (1 - p)^2 times the cross-entropy, p the probability of the right class; mean over the pixels that count.

    Source: Lin et al. 2017, arXiv:1708.02002, with gamma = 2.
    """
    plain = _cross_entropy(logits, targets)  # 0 where ignored
    weighted = plain if weights is None else _cross_entropy(logits, targets, weights)
    return ((1 - (-plain).exp()) ** _GAMMA * weighted).sum() / counts(targets).clamp_min(1)


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each image (n,), mean over its pixels that count."""
    return _cross_entropy(logits, targets).sum((1, 2)) / (targets != IGNORED).sum((1, 2)).clamp_min(1)


def _cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, smoothing: float = 0.0, reduction: str = "none"
) -> Tensor:
    """Return the cross-entropy of each pixel (n, h, w), 0 where ignored, or the sum of all ().

    Torch's kernel for pictures on a GPU adds in no fixed order, so there the pixels are a list.
    """
    from torch.nn import functional

    labels = targets.long()
    if not logits.is_cuda:
        return functional.cross_entropy(
            logits, labels, weights, ignore_index=IGNORED, label_smoothing=smoothing, reduction=reduction
        )
    pixels = logits.movedim(1, -1).flatten(0, -2)
    each = functional.cross_entropy(
        pixels, labels.flatten(), weights, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
    ).view_as(labels)
    return each.sum() if reduction == "sum" else each


# ---- predictions


def correct(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Count the pixels whose largest logit is that of their class, and the pixels that count."""
    known = targets != IGNORED
    return ((chosen(logits) == targets) & known).sum(), known.sum()


def probabilities(logits: Tensor) -> Tensor:
    """Return (n, classes, h, w); the sum of a pixel is 1."""
    import torch

    return torch.softmax(logits, dim=1)


def chosen(logits: Tensor) -> Tensor:
    """Return the class of each pixel (n, h, w)."""
    return mask_rows.best(logits)


# ---- evaluation: see `mask_metrics` for what a row holds


def rows(logits: Tensor, targets: Tensor) -> Tensor:
    """Return what evaluation keeps of each image (n, length) float64: see `mask_metrics`."""
    return mask_rows.rows(logits, targets, _cross_entropy(logits, targets))


def basic(predictions: Predictions) -> tuple[float, float]:
    """Return the loss and the part of the pixels that are correct, over all pixels that count."""
    found = mask_metrics.counted(predictions.logits)
    pixels = max(found.confusion.sum(), 1)
    return float(found.loss.sum() / pixels), float(found.confusion.trace() / pixels)


def quality(predictions: Predictions) -> list[float | None]:
    """Return the Dice of each image."""
    return [mask_metrics.main(row) for row in mask_metrics.dice(mask_metrics.counted(predictions.logits).each)]


def scores(predictions: Predictions) -> Mapping[str, float | None]:
    """Return the metrics over all pixels: see `mask_metrics.over_pixels`."""
    return mask_metrics.over_pixels(mask_metrics.counted(predictions.logits))


def details(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Return what happened to every class, the metrics of images with an interval, and of two classes points of curves."""
    found = mask_metrics.counted(predictions.logits)
    curves = mask_metrics.curves(found)
    return {
        "confusion": found.confusion.astype(np.int64).tolist(),
        "per_class": mask_metrics.per_class(found, names),
        "per_image": mask_metrics.per_image(found),
        **({"curves": curves} if curves else {}),
    }


def together(predictions: Mapping[str, Predictions]) -> dict[str, dict[str, Any]]:
    """Return Dice at the threshold that is the best for the validation images, of two classes."""
    counts = {split: mask_metrics.counted(each.logits) for split, each in predictions.items()}
    return {split: {"threshold": each} for split, each in mask_metrics.thresholds(counts).items()}


def note(scores: Mapping[str, float]) -> str:
    """Return the threshold of two classes, whose metrics count pixels."""
    return (
        "Dice, IoU, sensitivity and specificity take pixels with a probability of 0.5 or more"
        if "sensitivity" in scores
        else ""
    )


METRICS = {
    "dice": Metric("Dice"),
    "iou": Metric("IoU"),
    "sensitivity": Metric("sensitivity"),
    "specificity": Metric("specificity"),
    "auroc": Metric("AUROC"),
    "average_precision": Metric("average precision"),
}


# ---- recipe


def recipe_problems(arm: Arm) -> list[TlkitError]:
    """Check what a recipe says that masks cannot have."""
    problems = named_classes.no_positive(arm)
    if augmentations.mixes(arm.data.augment):
        problems.append(
            TlkitError("data.augment: mixup and cutmix mix whole images, and masks are not mixed.", "leave them out")
        )
    return problems


def choices(arm: Arm, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Say which class the one logit is of."""
    return [("positive class", names[1], "the second of two")] if len(names) == 2 else []


SEGMENTATION = Task(
    name="segmentation",
    head="fcn",
    targets=MASKS,
    outputs=outputs,
    expand=expand,
    loss=loss,
    terms={"dice": dice_loss, "focal": focal_loss},
    counts=counts,
    losses=losses,
    correct=correct,
    probabilities=probabilities,
    chosen=chosen,
    scores=scores,
    details=details,
    together=together,
    reduction=Reduction(rows, basic, quality, "Dice {:.3f}"),
    metrics=METRICS,
    select_by="dice",
    note=note,
    recipe_problems=recipe_problems,
    data_problems=lambda arm, classes, names: named_classes.weight_problems(arm, names),
    choices=choices,
)

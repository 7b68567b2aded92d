"""Detection: a picture holds objects, each of a class and in a box. Two tasks, which differ in how a head's output stands for boxes.

The rule: a batch's targets are one tensor (n, 1 + room, 6), where the first row is the picture itself, so that they can be moved, cropped and
padded like pictures. A row has left, top, right, bottom in pixels, the class, -1 for none, and 1 where it is ignored.

Evaluation keeps a row of numbers of each image: see `box_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.plugin import Boxes
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Rotate
from tlkit.recipe.recipe import Arm
from tlkit.tasks import box_answers, box_metrics, named_classes
from tlkit.tasks.box_answers import Answer, Coding, Found
from tlkit.tasks.task import Metric, Predictions, Reduction, Rows, Targets, Task, objects, one_stratum

if TYPE_CHECKING:
    from torch import Tensor

_NONE, _PICTURE = -1.0, -2.0  # in the place of a class
_LEAST_LEFT = 0.25  # part of a box's area that is left of it in a crop; of less it is not known any more what it is


# ---- targets: (N,) of Boxes


def problem(targets: Rows, classes: int) -> tuple[str, ...]:
    """Say that a class number is out of range, a box has no area or lies outside its picture."""
    for index, each in enumerate(targets):
        (height, width), corners, numbers = each.size, each.corners, each.classes
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < classes):
            return f"image {index} has a box of class {int(numbers.max())}", f"classes are 0 to {classes - 1}"
        bad = (
            (corners[:, 2:] <= corners[:, :2]).any(1) | (corners[:, :2] < 0).any(1) | (corners[:, 2:] > (width, height)).any(1)
        )
        if bad.any():
            shown = ", ".join(f"{side:g}" for side in corners[int(np.flatnonzero(bad)[0])].tolist())
            return f"image {index} has the box {shown}, its size is {width} x {height}", "left < right, top < bottom, inside"
    return ()


def count(targets: Rows, classes: int) -> tuple[int, ...]:
    """Return how many images show each class."""
    shown = np.zeros(classes, np.int64)
    for each in targets:
        shown[np.unique(each.classes[~each.ignored])] += 1
    return tuple(shown.tolist())


def renumber(targets: Rows, numbers: Sequence[int], classes: int) -> Rows:
    """Give every class another number."""
    found = np.empty(len(targets), object)
    found[:] = [replace(each, classes=np.asarray(numbers, np.int64)[each.classes]) for each in targets]
    return found


def batch(targets: Rows) -> Tensor:
    """Return boxes as one tensor (n, 1 + room, 6) float32 in pixels of the pictures as they are: see the module."""
    import torch

    room = max((max(each.room, len(each.classes)) for each in targets), default=0)
    found = torch.zeros(len(targets), 1 + room, 6)
    found[:, 1:, 4] = _NONE
    found[:, 0, 4] = _PICTURE
    for mine, each in zip(found, targets, strict=True):
        mine[0, 2:4] = torch.tensor(each.size[::-1])
        there = mine[1 : 1 + len(each.classes)]
        there[:, :4], there[:, 4] = torch.from_numpy(each.corners), torch.from_numpy(each.classes)
        there[:, 5] = torch.from_numpy(each.ignored)
    return found


def move(targets: Tensor, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return targets where their pictures went; a box of which less than a quarter is left inside is left out.

    Args:
        targets: (n, 1 + room, 6).
        maps: (n, 2, 3) float64: x and y of a place are sums of its x, its y and 1, times these numbers.
        size: Height and width of the result, pixels.
    """
    import torch

    corners = targets[:, :, :4].to(maps).reshape(len(targets), -1, 2, 2)  # (n, rows, corner, x and y)
    moved = torch.einsum("nij,nrcj->nrci", maps[:, :, :2], corners) + maps[:, None, None, :, 2]
    low, high = moved.amin(2), moved.amax(2)  # (n, rows, x and y)
    sides = moved.new_tensor(size[::-1])
    inner_low, inner_high = low.clamp_min(0).minimum(sides), high.clamp_min(0).minimum(sides)
    whole, left = (high - low).prod(2), (inner_high - inner_low).prod(2)
    gone = (targets[:, :, 4] >= 0) & ((left <= 0) | (left < _LEAST_LEFT * whole))
    found = targets.clone()
    found[:, :, :4] = torch.cat([inner_low, inner_high], 2).to(targets)
    found[gone] = found.new_tensor([0, 0, 0, 0, _NONE, 0])
    return found


def mix(own: Tensor, other: Tensor, shares: Tensor, classes: int) -> Tensor:
    """Boxes are not mixed.

    Raises:
        TypeError: always; a recipe that mixes is refused before.
    """
    raise TypeError("boxes are not mixed")


def example(shape: Sequence[int]) -> Tensor:
    """Return two boxes of class 0 for each image, in its upper left."""
    boxes = np.array([[0, 0, 16, 16], [8, 8, 40, 40]], np.float32)
    each = Boxes((64, 64), boxes, np.zeros(2, np.int64), np.zeros(2, bool), 2)
    targets = np.empty(shape[0], object)
    targets[:] = [each] * shape[0]
    return batch(targets)


BOXES = Targets(
    "objects in boxes", "(N,) of tlkit.plugin.Boxes", partial(objects, Boxes), problem, one_stratum, count, renumber, batch, mix, example,
    move=move, fewest=1,
)  # fmt: skip


# ---- loss


def loss(coding: Coding, logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the mean of the images' losses, so that a batch in parts is the same as in one.

    torchvision's loss of FCOS is instead over the places inside boxes of the whole batch.
    """
    return losses(coding, logits, targets).mean()


def losses(coding: Coding, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of torchvision's losses of classes and of boxes, of each image for itself (n,)."""
    return _losses(coding, coding.read(logits), _wanted(targets))


def _losses(coding: Coding, answer: Answer, wanted: Sequence[Found]) -> Tensor:
    import torch

    return torch.stack([torch.stack(list(parts.values())).sum() for parts in coding.losses(answer, wanted)])


def _wanted(targets: Tensor) -> list[Found]:
    """Return the boxes of each image that are trained on, as torchvision takes them; a GPU is waited for twice, for any number of images."""
    there = _counts(targets)
    each = targets[there].split_with_sizes(there.sum(1).tolist())
    return [{"boxes": mine[:, :4], "labels": mine[:, 4].long()} for mine in each]


def _counts(targets: Tensor) -> Tensor:
    """Return which rows of targets are boxes that are trained on (n, 1 + room)."""
    return (targets[:, :, 4] >= 0) & (targets[:, :, 5] == 0)


# ---- predictions


def correct(coding: Coding, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Count the boxes for which the surest of the anchors whose boxes overlap them by half says their class, and all boxes.

    Nothing is suppressed, since steps of training would take longer by it.
    """
    return _hits(coding, coding.read(logits), _wanted(targets)).sum(), _counts(targets).sum()


def _hits(coding: Coding, answer: Answer, wanted: Sequence[Found]) -> Tensor:
    """Return how many boxes of each image `correct` counts as right (n,)."""
    import torch
    from torchvision.ops import box_iou

    hits = []
    for image, mine in enumerate(wanted):
        near = box_iou(mine["boxes"], coding.boxes(answer, image)) >= box_metrics.OVERLAP  # (m, anchors)
        sure, said = answer.outputs["cls_logits"][image].max(1)
        surest = sure.masked_fill(~near, -torch.inf).argmax(1)
        hits.append((near.any(1) & (said[surest] == mine["labels"])).sum())
    return torch.stack(hits)


def probabilities(coding: Coding, logits: Tensor) -> Tensor:
    """Return the probability of each class at each anchor (n, classes, anchors), each for itself."""
    return coding.read(logits).outputs["cls_logits"].transpose(1, 2).sigmoid()


def chosen(logits: Tensor) -> Tensor:
    """Return the rows of evaluation as they are: they hold the boxes that were found."""
    return logits


def rows(coding: Coding, logits: Tensor, targets: Tensor) -> Tensor:
    """Return what evaluation keeps of each image (n, length): see `box_metrics.row`."""
    import torch

    answer, wanted = coding.read(logits), _wanted(targets)
    each = _losses(coding, answer, wanted)
    begins = torch.stack([each, _hits(coding, answer, wanted).to(each), _counts(targets).sum(1).to(each)], 1)
    sizes = [(bottom, right) for right, bottom in targets[:, 0, 2:4].tolist()]
    found = coding.found(answer, sizes)
    return torch.stack([box_metrics.row(*image) for image in zip(begins, found, targets, strict=True)])


def detections(coding: Coding, logits: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Found]:
    """Return what is found in images of these heights and widths: see `Coding.found`."""
    return coding.found(coding.read(logits), sizes)


def basic(predictions: Predictions) -> tuple[float, float]:
    """Return the mean loss of the images, and the part of all boxes that are right, as `correct` counts them."""
    images = box_metrics.read(predictions.logits)
    return sum(each.loss for each in images) / len(images), box_metrics.accuracy(images)


def quality(predictions: Predictions) -> list[float | None]:
    """Return the part of the boxes of each image that are found."""
    return box_metrics.parts_found(box_metrics.read(predictions.logits))


def scores(predictions: Predictions) -> Mapping[str, float | None]:
    """Return mean average precision: see `box_metrics`."""
    return box_metrics.mean_average_precision(box_metrics.read(predictions.logits))


def details(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Return what happened to every class."""
    return {"per_class": box_metrics.by_class(box_metrics.read(predictions.logits), names)}


METRICS = {"map": Metric("mAP"), "map50": Metric("mAP50"), "map75": Metric("mAP75")}


# ---- recipe


def recipe_problems(arm: Arm) -> list[TlkitError]:
    """Check what a recipe says that boxes cannot have."""
    problems = [*named_classes.no_positive(arm), *box_metrics.missing()]
    names = [each.name for each in arm.data.augment]
    if augmentations.mixes(arm.data.augment):
        problems.append(
            TlkitError("data.augment: mixup and cutmix mix whole images, and boxes are not mixed.", "leave them out")
        )
    if any(isinstance(each, Rotate) and each.steps is None for each in arm.data.augment):
        problems.append(
            TlkitError(
                "data.augment: a box that is turned by any angle has its sides no longer along the picture's.",
                'turns by 90 degrees: { name = "rotate", steps = 90 }',
            )
        )
    problems += [
        TlkitError(f"data.augment: {name} moves pixels of a picture, and boxes would stay.", '["hflip", "color_jitter"]')
        for name in ("elastic", "randaugment")
        if name in names
    ]
    if arm.loss.label_smoothing or arm.loss.class_weights is not None:
        problems.append(
            TlkitError(
                "loss: label_smoothing and class_weights are not for boxes, whose loss is torchvision's (focal, and of the sides).",
                "leave them out",
            )
        )
    return problems


def _task(name: str, head: str, coding: Coding) -> Task:
    """Return the task of one way in which a head's output stands for boxes."""
    return Task(
        name=name,
        head=head,
        targets=BOXES,
        outputs=lambda classes: classes + coding.beside,
        expand=lambda logits, positive: logits,
        loss=partial(loss, coding),
        losses=partial(losses, coding),
        correct=partial(correct, coding),
        probabilities=partial(probabilities, coding),
        chosen=chosen,
        scores=scores,
        details=details,
        reduction=Reduction(partial(rows, coding), basic, quality, "{:.0%} of the boxes found"),
        metrics=METRICS,
        select_by="map",
        recipe_problems=recipe_problems,
        detections=partial(detections, coding),
        eager="torchvision's losses of boxes read values on the host",
    )


POINT_DETECTION = _task("point_detection", "fcos", box_answers.POINTS)
ANCHOR_DETECTION = _task("anchor_detection", "retinanet", box_answers.ANCHORS)

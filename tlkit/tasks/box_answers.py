"""What a head of boxes gives, in the terms of torchvision's detection models, whose losses and suppression of doubles are used.

A head gives (n, classes + beside, anchors): logits of the classes, where the box is (4), the anchor's corners (4), the number of its level,
and of a head of places how central the place is in its box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from tlkit.plugin import ANCHOR_VALUES, POINT_VALUES

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.models.detection import FCOS, RetinaNet

DETECTIONS = 100  # of an image at most, as COCO counts them
_LEAST_SCORE = 0.05  # of a detection that counts: as in the papers of FCOS and RetinaNet

Found = dict[str, Any]  # "boxes" (d, 4), "scores" (d,) and "labels" (d,) int64 of one image, the surest first


@dataclass(frozen=True)
class Answer:
    """The output of a head for n images.

    Attributes:
        outputs: What torchvision's heads give, by its name: "cls_logits" (n, anchors, classes), "bbox_regression" (n, anchors, 4) and
            "bbox_ctrness" (n, anchors, 1) where there is one.
        anchors: (anchors, 4), which all images share.
        level: (anchors,) number of the level of the pyramid that each is of, ascending.
    """

    outputs: dict[str, Tensor]
    anchors: Tensor
    level: Tensor

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.outputs["cls_logits"])

    def only(self, image: int) -> Answer:
        """Return the answer for one image."""
        one = slice(image, image + 1)
        return Answer({name: each[one] for name, each in self.outputs.items()}, self.anchors, self.level)

    @cached_property
    def levels(self) -> list[int]:
        """Anchors of each level of the pyramid; a GPU is waited for once."""
        import torch

        return torch.bincount(self.level.long()).tolist()


@dataclass(frozen=True)
class Coding:
    """How a head's output stands for boxes.

    Attributes:
        beside: Values of an anchor beside the classes.
        model: () -> torchvision's model that reads such outputs; its own layers are not used.
        decoded: (model, values (anchors, 4), anchors (anchors, 4)) -> boxes (anchors, 4).
    """

    beside: int
    model: Callable[[], Any]
    decoded: Callable[[Any, Tensor, Tensor], Tensor]

    def read(self, output: Tensor) -> Answer:
        """Return a head's output (n, classes + beside, anchors) in torchvision's terms."""
        values = output.transpose(1, 2)  # (n, anchors, classes + beside)
        classes = values.shape[2] - self.beside
        rest = values[0, :, classes:]
        outputs = {"cls_logits": values[:, :, :classes], "bbox_regression": values[:, :, classes : classes + 4]}
        if self.beside == POINT_VALUES:
            outputs["bbox_ctrness"] = values[:, :, -1:]
        return Answer(outputs, rest[:, 4:8], rest[:, 8])

    def losses(self, answer: Answer, wanted: Sequence[Found]) -> list[dict[str, Tensor]]:
        """Return torchvision's losses of each image for itself, by its names.

        Args:
            answer: For n images.
            wanted: "boxes" (m, 4) and "labels" (m,) int64 of each image.
        """
        model, anchors = self.model(), [answer.anchors]
        levels = (answer.levels,) if self.beside == POINT_VALUES else ()
        return [model.compute_loss([mine], answer.only(image).outputs, anchors, *levels) for image, mine in enumerate(wanted)]

    def found(self, answer: Answer, sizes: Sequence[tuple[int, int]]) -> list[Found]:
        """Return the detections of each image, at most `DETECTIONS`; of boxes of a class that overlap the surest remains.

        Args:
            answer: For n images.
            sizes: Height and width of each, within which boxes are.
        """
        split = {name: list(each.split_with_sizes(answer.levels, 1)) for name, each in answer.outputs.items()}
        anchors = [list(answer.anchors.split_with_sizes(answer.levels))] * answer.images
        found: list[Found] = self.model().postprocess_detections(split, anchors, list(sizes))
        return found

    def boxes(self, answer: Answer, image: int) -> Tensor:
        """Return the box (anchors, 4) of every anchor of an image."""
        return self.decoded(self.model(), answer.outputs["bbox_regression"][image], answer.anchors)


@cache
def _fcos() -> FCOS:
    from torchvision.models.detection import FCOS

    return _without_draws(lambda: FCOS(_no_backbone(), 1, score_thresh=_LEAST_SCORE, detections_per_img=DETECTIONS))


@cache
def _retinanet() -> RetinaNet:
    from torchvision.models.detection import RetinaNet

    return _without_draws(lambda: RetinaNet(_no_backbone(), 1, score_thresh=_LEAST_SCORE, detections_per_img=DETECTIONS))


def _no_backbone() -> Any:
    from torch import nn

    backbone = nn.Identity()
    backbone.out_channels = 32  # type: ignore[assignment]  # torchvision asks for it, and its GroupNorm has 32 groups
    return backbone


def _without_draws(build: Callable[[], Any]) -> Any:
    """Build a model and leave the random generator as it is."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        return build()


POINTS = Coding(POINT_VALUES, _fcos, lambda model, values, anchors: model.box_coder.decode(values, anchors))
ANCHORS = Coding(ANCHOR_VALUES, _retinanet, lambda model, values, anchors: model.box_coder.decode_single(values, anchors))

"""The loop that a person would write by hand: float32, one batch after the other, nothing remembered between epochs.

The rule: it augments as the recipe says, with a draw for each picture; what it has no augmentation for it refuses, or it would do
less work than tlkit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import RandomErasing, RandomResizedCrop
from torchvision.transforms.v2.functional import center_crop, pad, resized_crop

from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head, registry
from tlkit_synthetic import SyntheticOptions
from tlkit_synthetic.read import synthetic

AUGMENTATIONS = {"random_crop", "random_resized_crop", "hflip", "random_erasing"}
_CROP_ROOM = 256 / 224  # of the side that a random crop is taken from, to its own; Krizhevsky et al. 2012, section 4.1


class Plain:
    """A network, pictures and an optimizer, and epochs of them.

    Args:
        job: As `benchmarks.cases.Job` holds it.

    Raises:
        ValueError: the recipe names an augmentation that is not in AUGMENTATIONS.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        recipe = tomllib.loads(Path(job["recipe"]).read_text(encoding="utf-8"))
        data = recipe["data"]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        backbone, head = registry.get(Backbone, recipe["backbone"]["name"]), registry.get(Head, recipe["head"]["kind"])
        self.network = _network(recipe, backbone, head, classes=data["options"]["classes"]).to(self.device)
        for parameter, tensor in self.network.owned():
            tensor.requires_grad_(parameter.name in job["trains"])
        self.side = data.get("image_size", backbone.image_size)
        self.size = data["batch_size"] if isinstance(data["batch_size"], int) else 32
        self.short = round(self.side / data.get("crop", backbone.input.crop))
        self.mean, self.std = (torch.tensor(each).view(3, 1, 1) for each in (backbone.input.mean, backbone.input.std))
        self.augment = _augmentations(data.get("augment", []))
        self.padding = self.augment.get("random_crop", {}).get("padding", 0)
        splits = synthetic(None, SyntheticOptions(**data["options"])).splits
        self.train = (splits["train"].pixels[: job["train"]], splits["train"].targets[: job["train"]])
        held = [
            np.concatenate(each) for each in zip(*((split.pixels, split.targets) for split in splits.values()), strict=True)
        ]
        self.held = tuple(each[-job["held"] :] for each in held)
        self.optimizer = _optimizer(recipe, [p for p in self.network.parameters() if p.requires_grad])

    def epoch(self) -> float:
        """Train on every training picture, evaluate on every other one; return the accuracy."""
        self.network.train()
        pixels, labels = self.train
        order = torch.randperm(len(labels))
        for chosen in order.split(self.size):
            if len(chosen) == 1 < len(labels):
                continue  # BatchNorm cannot learn from one
            x = self.pictures(pixels[chosen.numpy()], augment=True)
            y = torch.from_numpy(labels[chosen.numpy()]).to(self.device)
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.network(x), y).backward()
            self.optimizer.step()
        self.network.eval()
        correct = 0
        with torch.no_grad():
            for at in range(0, len(self.held[1]), self.size):
                x = self.pictures(self.held[0][at : at + self.size], augment=False)
                correct += int((self.network(x).argmax(1).cpu() == torch.from_numpy(self.held[1][at : at + self.size])).sum())
        return correct / len(self.held[1])

    def pictures(self, pixels: np.ndarray, *, augment: bool) -> Tensor:
        """Return (N, 3, side, side) float32, resized, cropped and normalised.

        Args:
            pixels: (N, h, w, 3) uint8.
            augment: As training pictures are, where the recipe says how.
        """
        augment = augment and bool(self.augment)
        larger = augment and "random_crop" in self.augment and not self.padding
        short = round(self.side * _CROP_ROOM) if larger else self.short
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        if augment and "random_resized_crop" in self.augment:
            return self._erased(self._normalised(torch.stack([self._window(picture) for picture in x])))
        x = nn.functional.interpolate(x, size=(short, short), mode="bilinear", antialias=True)
        if augment:
            return self._erased(self._normalised(torch.stack([self._augmented(picture) for picture in x])))
        at = (short - self.side) // 2
        return self._normalised(x[:, :, at : at + self.side, at : at + self.side])

    def _normalised(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).to(self.device)

    def _window(self, picture: Tensor) -> Tensor:
        """Resize a random window of (3, height, width) to (3, side, side), and mirror it or not."""
        options = self.augment["random_resized_crop"]
        scale, ratio = options.get("scale", (0.08, 1.0)), options.get("ratio", (3 / 4, 4 / 3))
        window = RandomResizedCrop(self.side, tuple(scale), tuple(ratio)).make_params([picture])
        return self._mirrored(resized_crop(picture, **window, size=[self.side, self.side], antialias=True))

    def _augmented(self, picture: Tensor) -> Tensor:
        """Crop (3, short, short) to (3, side, side), from its middle in a border where the recipe says so, and mirror it or not."""
        if self.padding:
            picture = pad(center_crop(picture, [self.side]), [self.padding], fill=self.mean.flatten().tolist())
        room = picture.shape[1] - self.side
        top = left = room // 2
        if "random_crop" in self.augment:
            top, left = torch.randint(0, room + 1, (2,)).tolist()
        return self._mirrored(picture[:, top : top + self.side, left : left + self.side])

    def _erased(self, x: Tensor) -> Tensor:
        """Fill a window of some pictures of (N, 3, side, side) with noise."""
        if "random_erasing" not in self.augment:
            return x
        options = self.augment["random_erasing"]
        scale, ratio = options.get("scale", (0.02, 0.33)), options.get("ratio", (0.3, 3.3))
        erase = RandomErasing(options.get("p", 0.25), tuple(scale), tuple(ratio), value="random")
        return torch.stack([erase(picture) for picture in x])

    def _mirrored(self, picture: Tensor) -> Tensor:
        flips = "hflip" in self.augment and torch.rand(()) < self.augment["hflip"].get("p", 0.5)
        return picture.flip(2) if flips else picture


def _augmentations(entries: Sequence[str | Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the table of each augmentation by its name; a bare name is one without options."""
    found = {each if isinstance(each, str) else each["name"]: {} if isinstance(each, str) else each for each in entries}
    if unknown := found.keys() - AUGMENTATIONS:
        raise ValueError(f"the plain loop has no {', '.join(sorted(unknown))}; it would do less work than the recipe says")
    return found


def _network(recipe: Mapping[str, Any], backbone: Backbone, head: Head, *, classes: int) -> Network:
    return building.build(
        backbone,
        head,
        classes=classes,
        backbone_options=backbone.options.model_validate(recipe["backbone"].get("options", {})) if backbone.options else None,
        head_options=head.options.model_validate(recipe["head"].get("options", {})) if head.options else None,
        seed=0,
    )


def _optimizer(recipe: Mapping[str, Any], parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    table = recipe["optimizer"]
    settings = {key: table[key] for key in ("momentum", "nesterov", "betas", "eps", "weight_decay") if key in table}
    return kinds[table["name"]](parameters, lr=1e-4, **settings)  # the rate costs nothing; a small one stays finite

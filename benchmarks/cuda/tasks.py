"""How near other kinds of training come to the bare replay of their step: masks, boxes, adaptation, stored outputs; and prediction of files.

The rule: a row is `engine.Row`, measured by `engine.trained`, so every kind is looked at in the same way. Recipes are like those in recipes/
that each names, with random weights, on pictures that are made here. A detector's step is not captured, which its notes say.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tlkit
from benchmarks.cuda import engine, idleness, loops
from benchmarks.cuda.engine import Row
from benchmarks.epochs import own_cache
from tlkit.engine.fit import Fit
from tlkit.run import loading, torch_settings
from tlkit.sources import image_files


@dataclass(frozen=True)
class Sizes:
    """How much is trained, and with what.

    Attributes:
        images: Of stored outputs; adaptation has an eighth of each domain, prediction an eighth, masks and boxes a 64th.
        batch: Images of a step; masks have 6, boxes 8, adaptation 32, if it is not less.
        side: Of a picture, pixels; those with masks have 2.5 times as many.
        epochs: Of which the last one counts.
        backbone: Of stored outputs, adaptation and prediction, in `precision`.
        dense: Of masks and boxes, in the precision that is found the fastest.
        precision: A recipe's.
    """

    images: int
    batch: int
    side: int
    epochs: int
    backbone: str = "resnet18"
    dense: str = "efficientnet_lite0"
    precision: str = "bfloat16"


Settings = dict[str, object]  # "table.key" -> its value
_MASKS: Settings = {"head.kind": "unet", "data.name": "segmentation_folder", "loss.dice": 1.0}
_BOXES: Settings = {"head.kind": "fcos", "head.options": {"width": 64, "convolutions": 2}, "backbone.batch_norm": "running"}
_FROZEN: Settings = {"freeze.backbone": True, "lr_groups.backbone": None}
_SIX, _EIGHT, _MANY = 6, 8, 32  # images of a step


def names() -> list[str]:
    """Return what is measured, the most wanted first."""
    return list(_CASES)


def measure(name: str, folder: Path, *, sizes: Sizes, device: torch.device) -> Row:
    """Measure one kind.

    Args:
        name: One of `names`.
        folder: For pictures, runs and the cache; pictures of masks and boxes are written once.
        sizes: How much.
        device: To train on.
    """
    with own_cache(folder / "cache"):
        return _CASES[name](name, folder, sizes, device)


def table(rows: Sequence[Row]) -> str:
    """Return a line for each row: that of `engine.lines`, seconds of evaluation, and what the run said of its graph."""
    first, *others = engine.lines("task", rows)
    found = [f"{first} {'evaluated/s':>12}"]
    for line, row in zip(others, rows, strict=True):
        seconds = row.times.get("evaluation", 0.0)
        rate = f"{row.evaluated / seconds:,.0f}" if row.evaluated and seconds else ""
        said = [note for note in row.notes if "graph" in note]
        found.append(f"{line} {rate:>12}  {'; '.join(said)}".rstrip())
    return "\n".join(found)


def _trained(
    *, batch: int, settings: Callable[[Path, Sizes], Settings], begun: Callable[[Fit], None] = lambda fit: None
) -> Callable[[str, Path, Sizes, torch.device], Row]:
    def measured(name: str, folder: Path, sizes: Sizes, device: torch.device) -> Row:
        own = settings(folder, sizes)
        recipe = _recipe(folder, own | {"data.batch_size": min(batch, sizes.batch)}, sizes)
        return engine.trained(name, recipe, device=device, epochs=sizes.epochs, begun=begun)

    return measured


def _recipe(folder: Path, settings: Settings, sizes: Sizes) -> Path:
    """Write a recipe; a value of None leaves its key out."""
    every: Settings = {
        "format": 1, "name": "tasks", "seeds": [0], "precision": sizes.precision, "evaluation.test": "every",
        "backbone.name": sizes.backbone, "backbone.weights": "none", "data.split.validation": 0.0,
        "optimizer.name": "adamw", "lr_groups.backbone": 1e-3, "lr_groups.head": 1e-3, "schedule.name": "constant",
        "schedule.epochs": sizes.epochs + 2,
    }  # fmt: skip
    text = [f"{key} = {_toml(value)}" for key, value in (every | settings).items() if value is not None]
    (folder / "tasks.toml").write_text("\n".join(text) + "\n", encoding="utf-8")
    return folder / "tasks.toml"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(each)}' for key, each in value.items())} }}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


def _masks(folder: Path, sizes: Sizes) -> Settings:
    """As recipes/drive.toml: crops are trained on, and whole pictures evaluated in tiles."""
    augment = ["hflip", "vflip", {"name": "rotate", "steps": 90}]
    more: Settings = {"data.augment": augment, "data.crop_size": sizes.side}
    return _scenes(folder, sizes) | _MASKS | more | {"data.options": _options(folder, "masks")}


def _stored_masks(folder: Path, sizes: Sizes) -> Settings:
    return _scenes(folder, sizes) | _MASKS | _FROZEN | {"data.options": _options(folder, "masks")}


def _boxes(folder: Path, sizes: Sizes) -> Settings:
    """As recipes/emoji_boxes.toml."""
    more: Settings = {"data.name": "yolo", "data.augment": ["hflip"], "optimizer.clip_norm": 10.0}
    embed: Settings = {"head.embed": "blocks6"} if sizes.dense == "efficientnet_lite0" else {}
    return _scenes(folder, sizes) | _BOXES | embed | more | {"data.options": _options(folder, "labels")}


def _options(folder: Path, kind: str) -> dict[str, object]:
    classes = ["square"] if kind == "labels" else ["ground", "square"]
    return {"path": str(folder / "scenes"), "classes": classes}


def _adapted(method: str) -> Callable[[Path, Sizes], Settings]:
    """As recipes/photo_to_art_finetuned.toml."""

    def settings(folder: Path, sizes: Sizes) -> Settings:
        count, side = max(sizes.images // 8, 2 * sizes.batch), max(sizes.side * 4 // 7, 32)
        domain = {"train": count, "test": max(count // 4, 10), "size": side}
        return {
            "data.name": "synthetic", "data.image_size": side, "data.options": domain, "data.augment": ["random_crop", "hflip"],
            "also.other.name": "synthetic", "also.other.options": domain | {"seed": 1}, "adapt.target": "other",
            "adapt.method": method, "adapt.images": "all",
        }  # fmt: skip

    return settings


def _stored(*, head_alone: bool) -> Callable[[Path, Sizes], Settings]:
    """As a recipe that freezes all but the last stage, or all stages, without augmentation."""

    def settings(folder: Path, sizes: Sizes) -> Settings:
        options = {"train": sizes.images // 2, "test": max(sizes.images // 4, 10), "size": sizes.side}
        data: Settings = {"data.name": "synthetic", "data.image_size": sizes.side, "data.options": options}
        last = "layer4" if sizes.backbone.startswith("resnet") else "block2"
        frozen: Settings = {
            "freeze.backbone": True,
            f"freeze.{last}": False,
            "lr_groups.backbone": None,
            f"lr_groups.{last}": 1e-3,
        }
        return data | (_FROZEN if head_alone else frozen)

    return settings


def _read_ahead(fit: Fit) -> None:
    """Let stored rows leave the device, as where they are too many for it."""
    assert fit._feed is not None
    for rows in fit._feed[1]._rows.values():
        rows.leave_()


def _predicted(name: str, folder: Path, sizes: Sizes, device: torch.device) -> Row:
    """Return images/s of a second prediction of files, and where the GPU is idle in a third one."""
    count = max(sizes.images // 8, 10)
    loops.prepare(folder / "files", train=count, val=10, side=sizes.side, batch=sizes.batch)
    options = {"train": 2 * sizes.batch, "test": 10, "size": sizes.side}
    data: Settings = {"data.name": "synthetic", "data.image_size": sizes.side, "data.options": options}
    recipe = _recipe(folder, data | {"data.batch_size": sizes.batch, "schedule.epochs": 1}, sizes)
    done = tlkit.apply(recipe, runs=folder / "runs", device=device.type, offline=True)
    if done.failures:
        raise done.failures[0]
    files = image_files.below(folder / "files" / "train", where="benchmark", notify=print)
    predictor = loading.load(folder / "runs" / "tasks", arm=None, device=device)

    def predict() -> None:
        for answer in predictor.answers(files):
            if isinstance(answer, Exception):
                raise answer

    with torch_settings.applied(device):
        predict()
        began = time.perf_counter()
        predict()
        seconds = time.perf_counter() - began
        idle = idleness.seen(predict, device)
    return Row(name, count / seconds, seconds * sizes.batch / count, None, None, idle, None, None, [])


def _scenes(folder: Path, sizes: Sizes) -> Settings:
    """Write pictures of a bright square, with its mask and its box, where there are none; return what is trained on them."""
    draw, side, counts = (
        np.random.default_rng(0),
        sizes.side * 5 // 2,
        {"train": max(sizes.images // 64, 2 * _EIGHT), "test": 16},
    )
    for part, count in counts.items() if not (folder / "scenes").is_dir() else ():
        places = {kind: folder / "scenes" / part / kind for kind in ("images", "masks", "labels")}
        for place in places.values():
            place.mkdir(parents=True)
        for number in range(count):
            pixels, mask = draw.integers(0, 90, (side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
            high, left, top = side // 4, *map(int, draw.integers(0, side * 3 // 4, 2))
            pixels[top : top + high, left : left + high] += 140
            mask[top : top + high, left : left + high] = 1
            Image.fromarray(pixels).save(places["images"] / f"{number}.png", compress_level=1)
            Image.fromarray(mask).save(places["masks"] / f"{number}.png")
            box = [(left + high / 2) / side, (top + high / 2) / side, high / side, high / side]
            (places["labels"] / f"{number}.txt").write_text(f"0 {' '.join(map(str, box))}\n", encoding="utf-8")
    return {"backbone.name": sizes.dense, "precision": "auto"}


_CASES: dict[str, Callable[[str, Path, Sizes, torch.device], Row]] = {
    "masks": _trained(batch=_SIX, settings=_masks),
    "boxes": _trained(batch=_EIGHT, settings=_boxes),
    "stored, resident": _trained(batch=1 << 20, settings=_stored(head_alone=False)),
    "stored, read ahead": _trained(batch=1 << 20, settings=_stored(head_alone=False), begun=_read_ahead),
    "masks, stored": _trained(batch=_SIX, settings=_stored_masks),
    "stored, head alone": _trained(batch=1 << 20, settings=_stored(head_alone=True)),
    "predict": _predicted,
    **{method: _trained(batch=_MANY, settings=_adapted(method)) for method in ("dann", "mmd", "mcc")},
}

"""Pictures of bright squares and bars on dark noise, with a box of each, in YOLO's layout."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("square", "bar")
SIZE = (64, 96)  # height and width of most pictures
SMALLER = (48, 80)  # of the last picture of each part

RECIPE = """\
format = 1
name = "boxed"
[backbone]
name = "toy"
weights = "none"
[head]
kind = "fcos"
options = { width = 32, convolutions = 1, smallest = 4 }
[data]
name = "yolo"
batch_size = 4
options = { path = "data", classes = ["square", "bar"] }
[optimizer]
name = "adamw"
[lr_groups]
backbone = 3e-3
head = 3e-3
[schedule]
epochs = 2
"""


def picture(draw: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, list[tuple[int, int, int, int, int]]]:
    """Return a picture (H, W, 3) and its boxes: class, left, top, right, bottom."""
    pixels = draw.integers(0, 60, (*size, 3), dtype=np.uint8)
    found = []
    for label, (high, wide), colour in ((0, (20, 20), (150, 150, 30)), (1, (12, 32), (20, 60, 180))):
        top, left = (int(draw.integers(0, side - part + 1)) for side, part in zip(size, (high, wide), strict=True))
        pixels[top : top + high, left : left + wide] = np.array(colour) + draw.integers(0, 20, (high, wide, 3))
        found.append((label, left, top, left + wide, top + high))
    return pixels, found


def line(box: tuple[int, int, int, int, int], size: tuple[int, int]) -> str:
    label, left, top, right, bottom = box
    height, width = size
    return f"{label} {(left + right) / 2 / width:.8f} {(top + bottom) / 2 / height:.8f} {(right - left) / width:.8f} {(bottom - top) / height:.8f}"


def write(folder: Path, *, counts: tuple[int, int, int] = (8, 4, 4), seed: int = 0) -> dict[str, list[list[tuple[int, ...]]]]:
    """Write training, validation and test pictures, the last of each part smaller; return the boxes of each picture."""
    draw = np.random.default_rng(seed)
    known: dict[str, list[list[tuple[int, ...]]]] = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True)
        for index in range(count):
            size = SMALLER if index == count - 1 else SIZE
            pixels, boxes = picture(draw, size)
            known.setdefault(part, []).append(list(boxes))
            Image.fromarray(pixels).save(folder / part / "images" / f"{index}.png")
            (folder / part / "labels" / f"{index}.txt").write_text("\n".join(line(box, size) for box in boxes))
    return known

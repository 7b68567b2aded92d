"""Photographs of PACS with emoji on them, whose boxes are known: 400 training and 100 test pictures, as recipes/emoji_boxes.toml takes them.

    python tests/emoji_scenes.py FOLDER

Each has 3 to 8 emoji of nine classes, Noto's drawings, of 20 to 48 pixels, which overlap by a tenth at most. A drawing and a photograph are of
training or of test pictures, never of both. The files are COCO's: train.json, test.json, train/ and test/.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(os.environ.get("TLKIT_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIDE = 128  # pixels of a photograph
EMOJI, SIZES = (3, 9), (20, 49)  # how many of a picture, and of how many pixels; each from, and below
_TESTED = 5  # every fifth drawing and photograph is of test pictures
_OVERLAP = 0.1  # of the smaller of two boxes, at most

Box = tuple[int, int, int, int]  # left, top, right, bottom


def write(folder: Path, *, counts: tuple[int, int] = (400, 100), seed: int = 0) -> None:
    """Write so many training and test pictures with their boxes."""
    drawings, photographs = _images("emoji.tar", "google"), _images("pacs_photo_art.tar", "photo")
    classes = sorted({name.split("/")[1] for name, _ in drawings})
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    for part, count in zip(("train", "test"), counts, strict=True):
        draw = np.random.default_rng([seed, part == "test"])
        mine = [
            [each for at, each in enumerate(kind) if (at % _TESTED == 0) == (part == "test")]
            for kind in (drawings, photographs)
        ]
        (folder / part).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            picture, boxes = _scene(draw, *mine)
            name = f"{number:04}.png"
            picture.save(folder / part / name)
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            for label, (left, top, right, bottom) in boxes:
                box = [left, top, right - left, bottom - top]
                about = {"id": len(annotations) + 1, "image_id": number, "category_id": 1 + classes.index(label)}
                annotations.append({**about, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        held = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{part}.json").write_text(json.dumps(held))


def _images(archive: str, folder: str) -> list[tuple[str, bytes]]:
    with tarfile.open(DATA / archive) as held:
        members = [
            each for each in held.getmembers() if each.isfile() and each.name.removeprefix("./").startswith(f"{folder}/")
        ]
        return [
            (each.name.removeprefix("./"), held.extractfile(each).read())
            for each in sorted(members, key=lambda each: each.name)
        ]


def _scene(
    draw: np.random.Generator, drawings: Sequence[tuple[str, bytes]], photographs: Sequence[tuple[str, bytes]]
) -> tuple[Image.Image, list[tuple[str, Box]]]:
    """Return a picture, and the class and the box of each emoji in it."""
    picture = Image.open(io.BytesIO(photographs[int(draw.integers(len(photographs)))][1])).convert("RGB").resize((SIDE, SIDE))
    wanted, found = int(draw.integers(*EMOJI)), []
    by_class: dict[str, list[bytes]] = {}
    for name, content in drawings:
        by_class.setdefault(name.split("/")[1], []).append(content)
    while len(found) < wanted:
        label = list(by_class)[int(draw.integers(len(by_class)))]
        mine = by_class[label]
        emoji, mask = _cut(mine[int(draw.integers(len(mine)))], int(draw.integers(*SIZES)))
        left, top = int(draw.integers(0, SIDE - emoji.width + 1)), int(draw.integers(0, SIDE - emoji.height + 1))
        box = left, top, left + emoji.width, top + emoji.height
        if all(_shared(box, other) <= _OVERLAP for _, other in found):
            picture.paste(emoji, (left, top), mask)
            found.append((label, box))
        elif draw.random() < 0.02 and len(found) >= EMOJI[0]:  # there is no room left
            break
    return picture, found


def _cut(content: bytes, side: int) -> tuple[Image.Image, Image.Image]:
    """Return a drawing without the empty border, its longer side so many pixels, and where it is opaque."""
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    image = image.resize(size)
    return image.convert("RGB"), image.getchannel("A")


def _shared(one: Box, other: Box) -> float:
    """Return the part of the smaller of two boxes that both cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(width, 0) * max(height, 0) / min(areas)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

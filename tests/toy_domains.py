"""Two domains of one set of classes: bright pictures are the source, dark ones the target."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def recipe(*, adapt: str, head: str = "", data: str = "", per_class: int = 6, more: str = "") -> str:
    """Return a recipe that adapts the toy network from the folder "bright" to "dark"; the arguments are further lines of its tables."""
    return f"""\
format = 1
name = "adapted"
[backbone]
name = "toy"
weights = "none"
{head}[data]
name = "folder"
image_size = 16
{data}options = {{ path = "bright" }}
[also.dark]
name = "folder"
options = {{ path = "dark" }}
split = {{ per_class = {per_class} }}
[adapt]
target = "dark"
{adapt}{more}"""


def pictures(folder: Path, light: int, classes: tuple[str, ...] = CLASSES, *, images: int = 12, seed: int = 0) -> None:
    """Write noise of a brightness, 0 to 255, in which the channel of the class is bright."""
    generator = np.random.default_rng([light, seed])
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(images):
            pixels = generator.integers(0, light, (16, 16, 3), dtype=np.uint8)
            pixels[:, :, CLASSES.index(name)] = light
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def write(folder: Path, text: str) -> Path:
    """Write both domains and a recipe; return its path."""
    pictures(folder / "bright", 250)
    pictures(folder / "dark", 90)
    (folder / "r.toml").write_text(text)
    return folder / "r.toml"

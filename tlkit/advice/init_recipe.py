"""`tlkit init`: write a commented recipe for a folder of images. Imports no torch."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.advice import comment_lines, folder_look, other_layouts, strategies
from tlkit.advice.comment_lines import one_line
from tlkit.advice.folder_look import Look
from tlkit.advice.strategies import FEW, MANY, SCRATCH, Likeness, Strategy
from tlkit.errors import DataError, DataMissing, TlkitError
from tlkit.plugin import Backbone, registry
from tlkit.recipe.tables import name_of

_FEW = 8  # images a class below which no fine-tuning is proposed
_SPLITS = re.compile(r"data\.options\.splits = (\{.*?\})")
_MASKS = {"images", "masks"}  # sub-folders of pictures for heads of masks
_ARMS = """
[arms.head_only]
freeze = { backbone = true }

[arms.finetune]
"""


def write(
    folder: Path,
    output: Path | None,
    *,
    force: bool,
    likeness: Likeness | None = None,
    splits: str | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a recipe for a folder of images.

    Args:
        folder: Class sub-folders, or train, val, test with class sub-folders.
        output: The recipe; the folder's name + .toml in the working folder where not given.
        force: Replace a file that is there.
        likeness: As in `recipe_text`.
        splits: Which folder is which split, as the recipe's data.options.splits has it: '{ fold_1 = "train", fold_2 = "test" }'.
        notify: Told which files are not used or cannot be read, and which classes have nearly the same name.

    Raises:
        DataError: the folder is not one of images in classes.
        TlkitError: the recipe exists already, or cannot be written.
    """
    path = output or Path(f"{folder.resolve().name or 'recipe'}.toml")
    if path.exists() and not force:
        raise TlkitError(f"{path}: is there already.", "another name, --output FILE, or --force to replace it")
    if not os.path.exists(folder):  # unlike Path.exists it answers for a name that no folder can have
        raise DataMissing(
            f"{folder}: there is no such folder.", "a folder with the images of each class in a sub-folder of its name"
        )
    files.refuse_other_than_utf8(Path(_relative(folder, path)))
    try:
        seen = folder_look.look(folder, None if splits is None else _table_of(splits))
    except DataError as error:  # which speaks of the recipe that is not there yet
        if splits is None:
            other_layouts.refuse(folder, classes=error)
        hints = (_SPLITS.sub(r"--splits '\1'", hint) for hint in error.hints)
        raise DataError(error.problem.replace("data.options.splits", "--splits"), *hints) from error
    if {name.lower() for name in seen.images.classes} == _MASKS:
        other_layouts.refuse(folder)
    text = recipe_text(folder, seen, path, likeness)
    files.replace_named(path, text, "output")
    for line in seen.warnings:
        notify(line)
    return path


def _table_of(splits: str) -> dict[str, Any]:
    """Return the inline table of --splits."""
    try:
        table = tomllib.loads(f"splits = {splits}")["splits"]
    except tomllib.TOMLDecodeError:
        table = None
    if not isinstance(table, dict) or "\n" in splits:
        raise TlkitError(f"--splits {splits}: is no table.", """--splits '{ fold_1 = "train", fold_2 = "test" }'""")
    return table


def recipe_text(folder: Path, seen: Look, path: Path, likeness: Likeness | None = None) -> str:
    """Return the recipe's text; comments give the reason of each choice.

    Args:
        folder: As the user names it.
        seen: What it holds.
        path: Of the recipe.
        likeness: Whether the images are like those that the network was trained on. Where it is not given, the recipe has two arms
            and asks which is better.
    """
    backbone, weights, size = _network(seen.short_side)
    strategy = None
    if likeness is not None:
        strategy = strategies.choose(seen.least[0], likeness, tuple(registry.get(Backbone, backbone).stages))
    solved = strategy is not None and strategy.solved
    return f"""\
{_heading(folder, seen, path, strategy)}# Result: not measured yet.
format = 1
name = "{name_of(path.resolve().stem, "images")}"

[backbone]
name = "{backbone}"
weights = "{weights}"

{_head(strategy.embed) if strategy and solved else ""}[data]
name = "folder"
{_channels(seen)}image_size = {size}  # pixels; larger is slower, by its square, and usually better
{"" if solved else _batches(seen)}
[data.options]
{_options(folder, seen, path)}{_split(seen, solved=solved)}{"" if solved else _learning(seen, strategy)}"""


def _heading(folder: Path, seen: Look, path: Path, strategy: Strategy | None) -> str:
    splits = ", ".join(f"{len(split.targets):,} {name}" for name, split in seen.images.splits.items())
    (least, least_name), (most, most_name) = seen.least, seen.most
    question = "Which is better for these images: a new last layer on a trained network, or training all of it?"
    if least >= SCRATCH:
        question = "Which is better for these images: a new last layer on a trained network, training all of it, or training from scratch?"
    taken = "; validation images are taken from train"
    note = (
        f"# Its folder {one_line(seen.test_from)} is the test set here{taken}.\n"
        if seen.test_from not in ("", "test") and "validation" not in seen.images.splits
        else ""
    )
    warn = "# The classes are uneven: accuracy alone flatters the large ones.\n" if most > 3 * least else ""
    few = "# Few images a class: expect head_only to do as well as finetune.\n" if least < 10 * _FEW else ""
    random = (
        f"# Each class has {SCRATCH} images or more, so random weights (scratch) may do better than head_only; they take longest to train.\n"
        if least >= SCRATCH
        else ""
    )
    classes = (
        f"The smallest class is {one_line(least_name)} with {least:,} training images, the largest {one_line(most_name)} with {most:,}."
        if least < most
        else f"Each class has {least:,} training images."
    )
    return f"""\
# {question if strategy is None else strategy.question}
#
#   tlkit plan {one_line(shlex.quote(str(path)))}
#   tlkit apply {one_line(shlex.quote(str(path)))}
#
# Seen in {one_line(folder)}: {len(seen.images.classes)} classes, {splits} images.
# {classes}
# Their short side is {seen.short_side} pixels (median of a sample).
{_remarks(seen)}{note}{warn}{few + random if strategy is None else _why(strategy, least)}"""


def _remarks(seen: Look) -> str:
    """Return comment lines about files that are not used or cannot be read."""
    return "".join(f"{line}\n" for text in seen.warnings for line in comment_lines.of(text))


def _why(strategy: Strategy, least: int) -> str:
    """Return comment lines with the number of images and the reason for the choice."""
    bounds = {"few": f"fewer than {FEW}", "some": f"{FEW} to {MANY - 1}", "many": f"{MANY} or more"}[strategy.amount]
    like = {"similar": "like", "dissimilar": "unlike"}[strategy.likeness]
    text = (
        f"Why: with {least:,} training images in its smallest class this folder has {strategy.amount} images a class ({bounds}), and "
        f"--{strategy.likeness} says that they are {like} the everyday photographs that the network was trained on. {strategy.why}"
    )
    return "".join(f"{line}\n" for line in comment_lines.of(text))


def _head(embed: str) -> str:
    line = f'embed = "{embed}"  # the stage that it reads; those behind it are left out\n' if embed else ""
    return f"""\
[head]
kind = "svm"  # solved at once: no epochs, no rates
{line}
[head.options]
kernel = "linear"

"""


def _channels(seen: Look) -> str:
    if seen.bands is None:
        return ""
    return f"channels = {seen.bands}  # bands of {seen.values}, as in the files; mean and std are measured on the training images\n"


def _batches(seen: Look) -> str:
    train = len(seen.images.splits["train"].targets)
    return f"""\
batch_size = {32 if train >= 256 else 16 if train >= 64 else 8}
augment = ["random_crop", "hflip"]  # leave out hflip where left and right mean something
"""


def _options(folder: Path, seen: Look, path: Path) -> str:
    where = _relative(folder, path)
    absolute = Path(where).is_absolute()
    fraction = (
        ""
        if seen.test_from
        else "test_fraction = 0.2  # of every class, by file name: pictures of one thing may fall on both sides\n"
    )
    splits = ""
    if seen.splits is not None:
        splits = f"splits = {{ {', '.join(f'{_quoted(name)} = {_quoted(part)}' for name, part in seen.splits.items())} }}\n"
    return f"""\
path = {_quoted(where)}  # {"not below this recipe, so it holds on this machine only" if absolute else "relative to this file"}
{splits}{fraction}"""


def _split(seen: Look, *, solved: bool) -> str:
    if "validation" in seen.images.splits:
        return ""
    if solved:
        return "\n[data.split]\nvalidation = 0.1  # of the training images, to choose between runs\n"
    return "\n[data.split]\nvalidation = 0.1  # of the training images, to choose the best epoch\n"


def _learning(seen: Look, strategy: Strategy | None) -> str:
    """Return the tables that say what trains, how fast and how long."""
    train = len(seen.images.splits["train"].targets)
    rates = {"backbone": strategies.MIDDLE_RATE, "head": strategies.HEAD_RATE} if strategy is None else strategy.rates
    speeds = "what is trained already moves slowly, the new head fast" if len(set(rates.values())) > 1 else "one for all"
    freeze = _table("freeze", "", strategy.freeze) if strategy is not None and strategy.freeze else ""
    epochs = 5 if train >= 20_000 else 10 if train >= 1_000 else 15
    arms = _ARMS + (_scratch(epochs) if seen.least[0] >= SCRATCH else "")
    return f"""\
{freeze}{_table("lr_groups", "peak rates: " + speeds, rates)}
[optimizer]
name = "adamw"

[schedule]
name = "one_cycle"
epochs = {epochs}
{arms if strategy is None else ""}"""


def _scratch(epochs: int) -> str:
    rate = _rate(strategies.HEAD_RATE)
    return f"""
[arms.scratch]
backbone.weights = "none"
lr_groups = {{ backbone = {rate}, head = {rate} }}
schedule.epochs = {epochs * strategies.SCRATCH_EPOCHS}  # random weights need more
"""


def _table(name: str, comment: str, values: Mapping[str, float]) -> str:
    written = {key: str(value).lower() if isinstance(value, bool) else _rate(value) for key, value in values.items()}
    lines = "".join(f"{key} = {value}\n" for key, value in written.items())
    return f"\n[{name}]{'  # ' + comment if comment else ''}\n{lines}"


def _rate(value: float) -> str:
    """Return a learning rate as text, "1e-4"."""
    return f"{value:.0e}".replace("e-0", "e-")


def _network(short_side: int) -> tuple[str, str, int]:
    """Return a backbone whose weights are available here, and a good input size for it."""
    size = 224 if short_side >= 160 else 128 if short_side >= 96 else 96 if short_side >= 48 else 64
    if any(entry.name == "efficientnet_lite0" for entry in registry.entries(Backbone)):
        return "efficientnet_lite0", "imagenet", size
    return "resnet18", "imagenet1k-v1", size


def _relative(folder: Path, path: Path) -> str:
    try:
        return folder.resolve().relative_to(path.resolve().parent).as_posix() or "."
    except ValueError:
        return str(folder.resolve())


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON takes as it is, and TOML does not

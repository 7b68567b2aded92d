"""The generated parts of docs/lectures.md: the lectures' experiments, our settings, figures and curves.

The rule: a setting of ours is read from the recipe's file, a figure of ours from docs/measurements, and what differs from the head of the
recipe. What a lecture says stands in docs/experiments.py. tests/docs/test_lectures.py holds every figure against the recipe's head.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from docs import charts, measured
from docs.experiments import EXPERIMENTS, Experiment, Figure
from tlkit.plans import resolve
from tlkit.recipe.map_tables import Rate
from tlkit.recipe.recipe import Arm
from tlkit.sources.places import Places

RECIPES = Path(__file__).parent.parent / "recipes"
_WIDTH = 140  # characters of a line
_NOT_SAID = "not said"
# What to see first: the words, and the pictures of it.
_FIRST = (
    ("Three curves on common axes", (("cifar_three_ways", "curves"),)),
    ("Kernels before training, after it, and their difference", (("cifar_three_ways", "kernels"),)),
    ("Models A to D", (("cifar4000_resnet18", "accuracy"), ("cifar4000_rates", "accuracy"))),
    ("Few images: chance, base and fine-tuned", (("ants_bees", "accuracy"), ("caltech101_one_percent", "accuracy"))),
)


def experiments() -> str:
    """Return a section for each experiment."""
    return "\n".join(map(_section, EXPERIMENTS))


def first() -> str:
    """Return the pictures to see first, of what is measured."""
    lines: list[str] = []
    for words, wanted in _FIRST:
        images = [
            (each.title, image)
            for each in EXPERIMENTS
            for kind, image in charts.shown(each).items()
            if (each.recipe, kind) in wanted
        ]
        if images:
            lines += [f"**{words}**", ""]
        for title, image in images:
            lines += [*([f"{title}:", ""] if len(images) > 1 else []), image, ""]
    return "\n".join(lines)


def table() -> str:
    """Return a table of the experiments: the recipe, and how many of its figures are measured."""
    lines = ["| experiment | recipe | measured |", "|---|---|---|"]
    for each in EXPERIMENTS:
        rows = [figure for figure in each.figures if figure.arm]
        count = sum(bool(ours(each, figure)) for figure in rows)
        state = f"{count} of {len(rows)} figures" if count else _missing(each)
        anchor = each.title.lower().replace(" ", "-").replace(",", "")
        lines.append(f"| [{each.title}](#{anchor}) | [{each.recipe}](../recipes/{each.recipe}.toml) | {state} |")
    return "\n".join(lines) + "\n"


def ours(each: Experiment, row: Figure) -> str:
    """Return our figure: from docs/measurements, or as it stands in `row`; "" where there is none yet."""
    found = measured.read(each.recipe)
    return (found.figure(row.arm) if found else "") or row.measured


def paragraphs(recipe: str) -> list[str]:
    """Return the paragraphs of a recipe's head, each in one line; what is indented is left out."""
    head = (RECIPES / f"{recipe}.toml").read_text().partition("\nformat = ")[0]
    blocks = [block.splitlines() for block in head.replace("\n#\n", "\n\n").split("\n\n")]
    return [" ".join(line.removeprefix("#").strip() for line in lines if not line.startswith("#  ")) for lines in blocks]


def _section(each: Experiment) -> str:
    recipe, resolved = resolve.load(RECIPES / f"{each.recipe}.toml", (), Places(recipe=RECIPES))
    trained = {name: arm for name, arm in recipe.arms.items() if not resolved[name].head.solve}
    return "\n".join(
        [
            f"## {each.title}", "", _filled(each.shows), "", f"`tlkit apply recipes/{each.recipe}.toml`", "",
            *_settings(each, recipe.arms, trained), "", *_arms(recipe.arms), "", *_figures(each), "", *_pictures(each),
            *(line for text in _notes(each.recipe) for line in (_filled(text), "")),
        ]
    )  # fmt: skip


def _notes(recipe: str) -> list[str]:
    """Return the paragraphs below the last table of a recipe's head; how it was measured is left out where docs/measurements says it."""
    found = paragraphs(recipe)
    below = found[max(number for number, text in enumerate(found) if not text) + 1 :]
    told = measured.read(recipe) is not None
    return [text for text in below if not (told and text.startswith("Measured on"))]


def _filled(text: str) -> str:
    return textwrap.fill(text.replace("+-", "±"), _WIDTH, break_on_hyphens=False, break_long_words=False)


def _settings(each: Experiment, arms: Mapping[str, Arm], trained: Mapping[str, Arm]) -> list[str]:
    lines = ["| setting | lecture | recipe |", "|---|---|---|"] if each.said else ["| setting | recipe |", "|---|---|"]
    for name, (value, steps) in SETTINGS.items():
        found = {arm: value(table) for arm, table in (trained if steps else arms).items()}
        ours = dict.fromkeys(found.values())
        text = "; ".join(
            said if len(ours) == 1 else f"{said} ({', '.join(arm for arm, own in found.items() if own == said)})"
            for said in ours
        )
        lecture = [each.said.get(name, _NOT_SAID)] if each.said else []
        lines.append("| " + " | ".join([name, *lecture, text or "none: the head is solved"]) + " |")
    return lines


def _input(arm: Arm) -> str:
    size, crop = arm.data.image_size, arm.data.crop
    shown = {None: "cropped as the weights were trained with", 1.0: "the whole picture"}.get(crop, f"the middle {crop}")
    return f"{'the size of the weights' if size is None else f'{size} px'}, {shown}"


def _images(arm: Arm) -> str:
    split = arm.data.split
    if split.fractions is not None:
        return " / ".join(f"{100 * part:g}" for part in split.fractions) + " % for training, validation and test"
    held = f", {100 * split.validation:g} % of them held out for validation" if split.validation else ", no validation images"
    return ("all" if split.train is None else f"{split.train:,}") + held


def _optimizer(arm: Arm) -> str:
    table = arm.optimizer
    if table.name == "sgd":
        nesterov = "Nesterov" if table.nesterov else "no Nesterov"
        return f"SGD, momentum {table.momentum:g}, {nesterov}, weight decay {_number(table.weight_decay)}"
    return f"{ {'adam': 'Adam', 'adamw': 'AdamW'}[table.name] }, weight decay {_number(table.weight_decay)}"


# Row -> the recipe's setting in words, and whether it is one of training by steps.
SETTINGS: dict[str, tuple[Callable[[Arm], str], bool]] = {
    "network": (lambda arm: arm.backbone.name, False),
    "head": (lambda arm: f"{arm.head.kind} on {arm.head.embed}" if arm.head.embed else arm.head.kind, False),
    "input": (_input, False),
    "training images": (_images, False),
    "augmentation": (lambda arm: ", ".join(each.name for each in arm.data.augment) or "none", True),
    "batch": (lambda arm: str(arm.data.batch_size), True),
    "optimizer": (_optimizer, True),
    "schedule": (lambda arm: arm.schedule.name, True),
    "epochs": (lambda arm: str(arm.schedule.epochs), True),
}


def _arms(arms: Mapping[str, Arm]) -> list[str]:
    lines = ["| arm | weights | frozen | learning rates |", "|---|---|---|---|"]
    for name, arm in arms.items():
        weights = "random" if arm.backbone.weights == "none" else arm.backbone.weights
        head_alone = arm.freeze == {"backbone": True}
        frozen = "backbone" if head_alone else ", ".join(f"{part} = {str(value).lower()}" for part, value in arm.freeze.items())
        rates = ", ".join(
            f"{part} {_number(rate.lr if isinstance(rate, Rate) else rate)}"
            for part, rate in arm.lr_groups.items()
            if part == "head" or not head_alone
        )
        lines.append(f"| {name} | {weights} | {(frozen or 'nothing') if rates else 'backbone'} | {rates or 'none'} |")
    return lines


def _figures(each: Experiment) -> list[str]:
    found = measured.read(each.recipe)
    here = f"measured here{f', on {found.images}' if found and found.images else ''}"
    heads = [each.unit, "arm", "lecture", here, *(["training images, measured here"] if found else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in each.figures:
        mine = ours(each, row).replace("+-", "±") or (_missing(each) if row.arm else "")
        cells = [row.what, row.arm, row.lecture, mine, *([found.figure(row.arm, "train")] if found else [])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _pictures(each: Experiment) -> list[str]:
    """Return how the figures were measured, and the pictures that do not stand above already."""
    found = measured.read(each.recipe)
    if found is None:
        return []
    above = {pair for _, wanted in _FIRST for pair in wanted}
    shown = charts.shown(each)
    images = [image for kind, image in shown.items() if (each.recipe, kind) not in above]
    said = f"{found.how}. Where there is a ±, it is half a 95 % interval over the seeds."
    if len(images) < len(shown):
        said += " More pictures: [Five things to see first](#five-things-to-see-first)."
    said += f" All values: [measurements/{each.recipe}.json](measurements/{each.recipe}.json)."
    return [_filled(said), "", *(line for image in images for line in (image, ""))]


def _missing(each: Experiment) -> str:
    return "not measured yet: needs a GPU" if each.gpu else "not measured yet"


def _number(value: float) -> str:
    """Return a rate as recipes write it, "1e-4"."""
    if not 0 < value < 1:
        return f"{value:g}"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"

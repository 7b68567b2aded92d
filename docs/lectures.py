"""The lectures' experiments: what they say and their figures, as data; and docs/lectures.md from these and from the recipes.

The rule: a setting of ours is read from the recipe's file, and what is measured and what differs from the head of that file. Only what a
lecture says stands here. tests/docs/test_lectures.py holds every figure against the recipe's head.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlkit.plans import resolve
from tlkit.recipe.map_tables import Rate
from tlkit.recipe.recipe import Arm
from tlkit.sources.places import Places

RECIPES = Path(__file__).parent.parent / "recipes"
_WIDTH = 140  # characters of a line
_NOT_SAID = "not said"
_QUOTED = ("What differs from the lecture", "A lecture", "Measured on", "Test accuracy in %", "Of the 15 pairs")


@dataclass(frozen=True)
class Figure:
    """One row of an experiment's figures.

    Attributes:
        what: The way of training, in words.
        arm: Of the recipe; "" where no arm is needed.
        lecture: The lecture's figure; "" where it has none.
        measured: Ours, as the recipe's head has it; "" where there is none yet.
    """

    what: str
    arm: str
    lecture: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Experiment:
    """One experiment of a lecture.

    Attributes:
        title: Of its section.
        recipe: Name of the recipe's file, without its suffix.
        shows: What the lecture says that it shows.
        unit: Of the figures.
        said: The lecture's settings: a row of `SETTINGS` -> its words. A row that is missing is not said.
        figures: The lecture's and ours.
        gpu: What is not measured yet needs a GPU.
    """

    title: str
    recipe: str
    shows: str
    unit: str = "test accuracy in %"
    said: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    gpu: bool = False


_WHOLE_CIFAR = {"augmentation": "none", "training images": "all 50,000", "optimizer": "Adam, one rate for all arms"}
_RESNET = {
    **_WHOLE_CIFAR, "network": "ResNet-18", "input": "224 px, the whole picture", "batch": "128", "schedule": "constant",
    "epochs": "10",
}  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "Three ways to train Inception v3",
        "inception_three_arms",
        "Pretrained weights with everything trained are better than training from scratch, and training from scratch is better than "
        "training the last layer alone.",
        said={
            **_WHOLE_CIFAR, "network": "Inception v3", "input": "299 px, the whole picture", "batch": "8", "schedule": "constant",
            "epochs": "5",
        },
        figures=(
            Figure("everything, from ImageNet weights", "everything", "75, and 94 by epoch 3"),
            Figure("from scratch", "scratch", "about 81"),
            Figure("last layer alone", "head_only", "about 74, and flat"),
        ),
        gpu=True,
    ),
    Experiment(
        "ResNet-18 from scratch",
        "resnet18_scratch",
        "Without pretrained weights the test accuracy jumps up and down while the training loss falls.",
        said=_RESNET,
        figures=(
            Figure("from scratch, after seven of the epochs", "main", "50, 71, 55, 71, 67, 75, 70"),
            Figure("time of an epoch, and of all ten", "main", "1 minute 51 s, 18 minutes 38 s"),
        ),
        gpu=True,
    ),
    Experiment(
        "Three ways to train ResNet-18",
        "resnet18_three_arms",
        "The lecture announces this comparison and has no figures of it.",
        said={"network": "ResNet-18"},
        figures=(
            Figure("everything, from ImageNet weights", "everything"),
            Figure("from scratch", "scratch"),
            Figure("last layer alone", "head_only"),
        ),
        gpu=True,
    ),
    Experiment(
        "Three ways to train, on a CPU",
        "cifar_three_ways",
        "The question of the first experiment with a network and pictures that two CPU cores can train, and with 500, 2,000 and 10,000 "
        "training images: from how many images on is training from scratch better than the last layer alone? No lecture has this.",
        figures=tuple(
            Figure(f"{words}, {count:,} images", f"{arm}_{count}")
            for arm, words in (("everything", "everything"), ("scratch", "from scratch"), ("head_only", "last layer alone"))
            for count in (500, 2000, 10000)
        ),
    ),
    Experiment(
        "Models A to D",
        "cifar4000_resnet18",
        "With 4,000 labels, what is pretrained should move slowly and the new classifier fast. One rate for all is too high for the one or "
        "too low for the other.",
        unit="train / test accuracy in %",
        said={
            "network": "ResNet-18", "training images": "4,000 labelled images", "optimizer": "SGD, momentum 0.9, no Nesterov, weight decay 5e-4",
            "schedule": "constant", "epochs": "100",
        },
        figures=(
            Figure("A, random weights, 1e-1", "A1", "99.98 / 76.34"),
            Figure("B, ImageNet weights, 1e-1", "B1", "99.61 / 66.10"),
            Figure("A, random weights, 1e-4", "A2", "44.97 / 41.89"),
            Figure("B, ImageNet weights, 1e-4", "B2", "92.04 / 87.14"),
            Figure("C, features 1e-4, classifier 1e-1", "C", "99.68 / 88.72"),
            Figure("D, conv1 to conv3 1e-4, conv4 and conv5 1e-3, classifier 1e-1", "D", "99.88 / 89.65"),
        ),
        gpu=True,
    ),
    Experiment(
        "Models A to D, on a CPU",
        "cifar4000_rates",
        "The same question with a smaller network, smaller pictures and 10 epochs. Compare the order, not the values.",
        said={"network": "ResNet-18", "training images": "4,000 labelled images", "epochs": "100", "schedule": "constant"},
        figures=(
            Figure("A, random weights, 1e-1", "A1", "76.34", "36.2 +- 2.1"),
            Figure("B, ImageNet weights, 1e-1", "B1", "66.10", "31.2 +- 2.0"),
            Figure("A, random weights, 1e-4", "A2", "41.89", "14.3 +- 1.5"),
            Figure("B, ImageNet weights, 1e-4", "B2", "87.14", "26.9 +- 1.9"),
            Figure("C, features 1e-4, classifier 1e-1", "C", "88.72", "49.5 +- 2.2"),
            Figure("D, late stages 1e-3 in addition", "D", "89.65", "63.1 +- 2.1"),
        ),
    ),
    Experiment(
        "Ants and bees",
        "ants_bees",
        "With some forty training images, pretrained weights make the difference between little more than chance and a useful classifier.",
        said={"training images": "10 / 10 / 80 % of 398 images, 199 of each class"},
        figures=(
            Figure("chance", "", "50"),
            Figure("base (from scratch)", "scratch", "60.13", "55.9 +- 10.2"),
            Figure("fine-tuned", "finetune", "86.71", "88.0 +- 0.9"),
            Figure("last stage and head", "last_stage", "", "90.6 +- 1.6"),
            Figure("last layer alone", "head_only", "", "93.8 +- 0.9"),
        ),
    ),
    Experiment(
        "One percent of Caltech-101",
        "caltech101_one_percent",
        "With one or a few images of each of 102 classes, fine-tuning has about twice the accuracy of training from scratch.",
        said={"training images": "1 / 1 / 98 % of 9,144 images, 102 classes with the background"},
        figures=(
            Figure("chance", "", "1"),
            Figure("base (from scratch)", "base", "19.78", "8.1 +- 4.0, on a stand-in"),
            Figure("fine-tuned", "everything", "38.2", "33.8 +- 2.1, on a stand-in"),
            Figure("last layer alone", "head_only", "", "39.4 +- 10.1, on a stand-in"),
        ),
    ),
    Experiment(
        "Classifiers on an embedding",
        "pets_embedding",
        "The 4,096 outputs of a network's last hidden layer are an embedding that a support vector machine, trees or another network can "
        "classify: species of birds, breeds of dogs, makes of cars. The lecture has no figures of it.",
        said={"network": "AlexNet or VGG"},
        figures=tuple(
            Figure(f"{words} on {network}", f"{prefix}_{arm}")
            for prefix, network in (("alexnet", "AlexNet"), ("vgg16", "VGG-16"))
            for arm, words in (
                ("svm", "support vector machine"),
                ("decision_tree", "decision tree"),
                ("random_forest", "random forest"),
                ("mlp", "another network"),
            )
        ),
    ),
    Experiment(
        "Chest X-rays",
        "chest_xray",
        "Images that are unlike the source, one output. With many images, train everything, from pretrained weights; with few, freeze the "
        "early layers. The lecture has no figures of it.",
        figures=(
            Figure("everything, all images", "everything", "", "95.3"),
            Figure("last stages, all images", "last_stages"),
            Figure("last layer alone, all images", "head_only", "", "94.6"),
            Figure("from scratch, all images", "scratch"),
            Figure("everything, 100 images", "everything_100"),
            Figure("last stages, 100 images", "last_stages_100", "", "78.0 (82.9, 85.6, 65.4)"),
            Figure("last layer alone, 100 images", "head_only_100", "", "72.9 (77.4, 68.1, 73.2)"),
            Figure("from scratch, 100 images", "scratch_100"),
        ),
    ),
)  # fmt: skip


def experiments() -> str:
    """Return a section for each experiment."""
    return "\n".join(map(_section, EXPERIMENTS))


def measured() -> str:
    """Return a table of the experiments: the recipe, and how many of its figures are measured."""
    lines = ["| experiment | recipe | measured |", "|---|---|---|"]
    for each in EXPERIMENTS:
        rows = [figure for figure in each.figures if figure.arm]
        count = sum(bool(figure.measured) for figure in rows)
        state = f"{count} of {len(rows)} figures" if count else _missing(each)
        anchor = each.title.lower().replace(" ", "-").replace(",", "")
        lines.append(f"| [{each.title}](#{anchor}) | [{each.recipe}](../recipes/{each.recipe}.toml) | {state} |")
    return "\n".join(lines) + "\n"


def paragraphs(recipe: str) -> list[str]:
    """Return the paragraphs of a recipe's head, each in one line; what is indented is left out."""
    head = (RECIPES / f"{recipe}.toml").read_text().partition("\nformat = ")[0]
    blocks = [block.splitlines() for block in head.replace("\n#\n", "\n\n").split("\n\n")]
    return [" ".join(line.removeprefix("#").strip() for line in lines if not line.startswith("#  ")) for lines in blocks]


def _section(each: Experiment) -> str:
    recipe, resolved = resolve.load(RECIPES / f"{each.recipe}.toml", (), Places(recipe=RECIPES))
    trained = {name: arm for name, arm in recipe.arms.items() if not resolved[name].head.solve}
    noted = [text for text in paragraphs(each.recipe) if text.startswith(_QUOTED)]
    return "\n".join(
        [
            f"## {each.title}", "", _filled(each.shows), "", f"`tlkit apply recipes/{each.recipe}.toml`", "",
            *_settings(each, recipe.arms, trained), "", *_arms(recipe.arms), "", *_figures(each), "",
            *(line for text in noted for line in (_filled(text), "")),
        ]
    )  # fmt: skip


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
    lines = [f"| {each.unit} | arm | lecture | measured here |", "|---|---|---|---|"]
    for row in each.figures:
        ours = row.measured.replace("+-", "±") or (_missing(each) if row.arm else "")
        lines.append(f"| {row.what} | {row.arm} | {row.lecture} | {ours} |")
    return lines


def _missing(each: Experiment) -> str:
    return "not measured yet: needs a GPU" if each.gpu else "not measured yet"


def _number(value: float) -> str:
    """Return a rate as recipes write it, "1e-4"."""
    if not 0 < value < 1:
        return f"{value:g}"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"

"""The recipes that carry a lecture's experiment keep its settings, so that figures can be compared. Change the lecture, not these."""

from typing import Any

import pytest
from conftest import ROOT

from tlkit.plans import resolve
from tlkit.recipe.recipe import Arm
from tlkit.sources.places import Places

WHOLE = {
    "backbone.input": None,
    "data.name": "cifar10",
    "data.crop": 1.0,
    "data.fit": "crop",  # of square pictures: nothing
    "data.augment": (),
    "data.split.validation": 0.0,  # no epoch is chosen
    "data.split.fractions": None,
    "loss.label_smoothing": 0.0,
    "early_stopping": None,
    "optimizer.accumulate": 1,
    "schedule.name": "constant",
    "schedule.warmup_epochs": 0.0,
}
ADAM = {"optimizer.name": "adam", "optimizer.weight_decay": 0.0}
INCEPTION = {
    **WHOLE, **ADAM, "backbone.name": "inception_v3", "data.image_size": 299, "data.batch_size": 8, "data.split.train": None,
    "schedule.epochs": 5,
}  # fmt: skip
RESNET = {
    **WHOLE, **ADAM, "backbone.name": "resnet18", "data.image_size": 224, "data.batch_size": 128, "data.split.train": None,
    "schedule.epochs": 10,
}  # fmt: skip
MODELS = {
    **WHOLE, "backbone.name": "resnet18", "data.split.train": 4000, "schedule.epochs": 100, "optimizer.name": "sgd",
    "optimizer.momentum": 0.9, "optimizer.nesterov": False, "optimizer.weight_decay": 5e-4, "freeze": {},
}  # fmt: skip
ONE_RATE = {"lr_groups": {"backbone": 1e-3, "head": 1e-3}}
THREE_WAYS = {
    "scratch": {"backbone.weights": "none", "freeze": {}, **ONE_RATE},
    "everything": {"backbone.weights": "imagenet1k-v1", "freeze": {}, **ONE_RATE},
    "head_only": {"backbone.weights": "imagenet1k-v1", "freeze": {"backbone": True}, "lr_groups": {"head": 1e-3}},
}
RECIPES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "inception_three_arms": (INCEPTION, THREE_WAYS),
    "resnet18_three_arms": (RESNET, THREE_WAYS),
    "resnet18_scratch": (RESNET, {"main": THREE_WAYS["scratch"]}),
    "cifar4000_resnet18": (
        MODELS,
        {
            "A1": {"backbone.weights": "none", "lr_groups": {"backbone": 1e-1, "head": 1e-1}},
            "B1": {"backbone.weights": "imagenet1k-v1", "lr_groups": {"backbone": 1e-1, "head": 1e-1}},
            "A2": {"backbone.weights": "none", "lr_groups": {"backbone": 1e-4, "head": 1e-4}},
            "B2": {"backbone.weights": "imagenet1k-v1", "lr_groups": {"backbone": 1e-4, "head": 1e-4}},
            "C": {"backbone.weights": "imagenet1k-v1", "lr_groups": {"backbone": 1e-4, "head": 1e-1}},
            "D": {
                "backbone.weights": "imagenet1k-v1",
                "lr_groups": {"backbone": 1e-4, "layer3": 1e-3, "layer4": 1e-3, "head": 1e-1},
            },
        },
    ),
}
FIGURES = {
    "inception_three_arms": ["75", "94", "about 81", "about 74"],
    "resnet18_scratch": ["50, 71, 55, 71, 67, 75 and 70 %", "1 minute 51 s", "18 minutes 38 s", "11.7 M"],
    "cifar4000_resnet18": [
        "99.98 / 76.34", "99.61 / 66.10", "44.97 / 41.89", "92.04 / 87.14", "99.68 / 88.72", "99.88 / 89.65",
    ],
    "caltech101_one_percent": ["19.78", "38.2", "9,144", "102 classes"],
    "ants_bees": ["60.13", "86.71", "398 images"],
}  # fmt: skip


def _said(arm: Arm, key: str) -> object:
    value: Any = arm
    for name in key.split("."):
        value = getattr(value, name)
    if key == "lr_groups":
        return {part: rate.lr if hasattr(rate, "lr") else rate for part, rate in value.items()}
    return tuple(value) if key == "data.augment" else value


@pytest.mark.parametrize("stem", RECIPES)
def test_settings_are_the_lectures(stem: str) -> None:
    common, arms = RECIPES[stem]
    recipe, _ = resolve.load(ROOT / "recipes" / f"{stem}.toml", (), Places(recipe=ROOT / "recipes"))
    assert list(recipe.arms) == list(arms)
    assert recipe.evaluation.test == "every", "the test curve is drawn, and chooses nothing"
    for name, own in arms.items():
        for key, expected in (common | own).items():
            assert _said(recipe.arms[name], key) == expected, f"{name}: {key}"


def test_caltech_has_its_background_and_one_percent_to_train_on() -> None:
    recipe, _ = resolve.load(ROOT / "recipes" / "caltech101_one_percent.toml", (), Places(recipe=ROOT / "recipes"))
    for arm in recipe.arms.values():
        assert arm.data.options["background"] is True
        assert arm.data.split.fractions == [0.01, 0.01, 0.98]


def test_ants_and_bees_train_on_a_tenth() -> None:
    recipe, _ = resolve.load(ROOT / "recipes" / "ants_bees.toml", (), Places(recipe=ROOT / "recipes"))
    assert all(arm.data.split.fractions == [0.1, 0.1, 0.8] for arm in recipe.arms.values())


@pytest.mark.parametrize("stem", FIGURES)
def test_the_lectures_figures_stand_in_the_head(stem: str) -> None:
    text = (ROOT / "recipes" / f"{stem}.toml").read_text()
    head = " ".join(line.removeprefix("#").strip() for line in text.partition("format = 1")[0].splitlines())
    for figure in FIGURES[stem]:
        assert figure in head
    assert "does not say" in head, "what differs from the lecture"

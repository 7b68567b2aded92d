"""The dropout that a library has before its classifier: in the plan, in the digest, and in a recipe that a model writes."""

from pathlib import Path

import pytest

from tlkit import api
from tlkit.model import saving
from tlkit.plans import jobs, resolve
from tlkit.plans.plan import Choice
from tlkit.recipe.recipe import Arm
from tlkit.sources.places import Places

SIZE = "data.image_size=32"


def digest(recipe: Path, backbone: str, *settings: str) -> str:
    places = Places(recipe=recipe.parent, offline=True)
    read, arms = resolve.load(recipe, [f"backbone.name={backbone}", SIZE, *settings], places)
    (job,) = jobs.plan_jobs(read, arms, places, runs=recipe.parent, where="")
    return job.digest


def arm(recipe: Path, *settings: str) -> Arm:
    places = Places(recipe=recipe.parent, offline=True)
    _, arms = resolve.load(recipe, ["backbone.name=mobilenet_v2", SIZE, *settings], places)
    return arms["main"].arm


def test_a_digest_covers_the_dropout_of_backbones_that_have_one_and_no_other_changes(toy_recipe: Path) -> None:
    own, none, said = (
        digest(toy_recipe, "mobilenet_v2", *more) for more in ((), ("head.options.dropout=0.0",), ("head.options.dropout=0.2",))
    )
    assert own == said != none
    assert digest(toy_recipe, "resnet18") == digest(toy_recipe, "resnet18", "head.options.dropout=0.0")
    assert digest(toy_recipe, "mobilenet_v2", "head.kind=mlp") == digest(
        toy_recipe, "mobilenet_v2", "head={kind='mlp', options={dropout=0.0}}"
    )


@pytest.mark.parametrize(
    ("settings", "shown"), [((), True), (("head.options.dropout=0.0",), False), (("head.kind=mlp",), False)]
)
def test_a_plan_says_that_the_head_has_the_librarys_dropout(toy_recipe: Path, settings: tuple[str, ...], shown: bool) -> None:
    plan = api.plan(toy_recipe, ["backbone.name=mobilenet_v2", SIZE, *settings])["main"]
    found = [choice for choice in plan.choices if choice.what == "head dropout"]
    reason = "as torchvision.models.mobilenet_v2 has it before its classifier; head.options.dropout = 0 leaves it out"
    assert found == ([Choice("head dropout", "0.2", reason)] if shown else [])


@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.3])
def test_a_recipe_of_a_model_has_the_models_dropout(toy_recipe: Path, dropout: float) -> None:
    mine = arm(toy_recipe, f"head.options.dropout={dropout}")
    written = toy_recipe.parent / "written.toml"
    written.write_text(saving._recipe_text(mine, name="written", seed=0, weights_from=None))
    _, arms = resolve.load(written, (), Places(recipe=written.parent, offline=True))
    assert arms["main"].arm.head == mine.head

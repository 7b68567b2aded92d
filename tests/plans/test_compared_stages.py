"""Which stages a method of domain adaptation compares: named in a recipe, or counted from the last one by the plugin."""

from dataclasses import replace

import pytest
from pydantic import Field
from tlkit_toy import toy
from torch import Tensor

from tlkit.errors import PluginError, TlkitError
from tlkit.plans import adaptation, compared_stages
from tlkit.plans.adaptation import Adaptation
from tlkit.plugin import Adapter, DomainBatch, Options
from tlkit.recipe.domains import AdaptTable
from tlkit.testing import check_adapter

STAGES = tuple(toy.stages)
COUNTING = Adapter(loss="a:b", stages=(-1, -3))


def mmd(*names: str) -> Adaptation:
    return adaptation.look_up(AdaptTable(target="other", method="mmd", options={"stages": list(names)}))


def counting(adapter: Adapter) -> Adaptation:
    return Adaptation(AdaptTable(target="other", method="counting"), adapter, None)


def test_stages_are_those_that_the_option_names_in_the_order_of_the_network() -> None:
    assert compared_stages.numbers(mmd("block2", "stem"), STAGES) == (0, 2)
    assert compared_stages.numbers(mmd(), STAGES) == ()
    assert compared_stages.numbers(None, STAGES) == ()


def test_the_plan_says_what_a_method_compares_that_is_asked_for_no_stage() -> None:
    (choice,) = compared_stages.choices(mmd(), STAGES)
    assert (choice.what, choice.value, choice.reason) == (
        "compared",
        "what the head reads",
        "adapt.options.stages names no stage",
    )
    (choice,) = compared_stages.choices(mmd("stem"), STAGES)
    assert (choice.what, choice.value) == ("compared", "stem")
    assert not list(compared_stages.choices(counting(replace(COUNTING, stages=())), STAGES))


def test_numbers_count_from_the_stage_that_the_head_reads() -> None:
    assert compared_stages.numbers(counting(COUNTING), STAGES) == (0, 2)
    assert compared_stages.numbers(counting(COUNTING), ("one", "two", "three", "four")) == (1, 3)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (mmd("blok1"), 'adapt.options.stages: toy has no stage "blok1" up to the one that the head reads.'),
        (mmd("head"), 'adapt.options.stages: toy has no stage "head"'),
        (mmd("stem", "stem"), "adapt.options.stages: names stem 2 times."),
        (counting(replace(COUNTING, stages=(-4,))), "counting compares the last 4 stages, and toy has 3"),
    ],
)
def test_a_stage_that_is_not_there_is_one_problem(found: Adaptation, words: str) -> None:
    (problem,) = compared_stages.problems(found, STAGES, "toy")
    assert isinstance(problem, TlkitError)
    assert words in problem.problem


def test_the_nearest_name_and_the_stages_are_offered() -> None:
    (problem,) = compared_stages.problems(mmd("blok1"), STAGES, "toy")
    assert problem.hints == ("stages: stem, block1, block2", 'did you mean "block1"?')


def test_stages_whose_features_stay_are_told() -> None:
    assert compared_stages.of_no_use(mmd("stem", "block2"), ["block1", "block2"], STAGES) == [
        "adapt.method: mmd compares stem too, and nothing trains up to there: it changes nothing in it"
    ]
    assert not compared_stages.of_no_use(mmd("block1", "block2"), ["block1"], STAGES)
    assert not compared_stages.of_no_use(mmd("stem"), [], STAGES)  # a frozen backbone is told once, of the method


class Named(Options):
    layers: list[str] = Field(default_factory=list)


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({"solve": "a:b", "stages": (-1,)}, "has stages, whose features only a loss gets"),
        ({"loss": "a:b", "stages": (0,)}, r"stages is \(0,\)"),
        ({"loss": "a:b", "stages": (-1, -1)}, r"stages is \(-1, -1\)"),
        ({"loss": "a:b", "stages": "layers"}, "stages is 'layers', and it has no such option"),
        ({"loss": "a:b", "stages": "layer", "options": Named}, "stages is 'layer', and it has no such option"),
    ],
)
def test_an_adapter_that_declares_them_wrongly_is_refused(adapter: dict[str, object], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        Adapter(**adapter)


def stage_gap(batch: DomainBatch[Tensor], options: None) -> Tensor:
    """The loss of the plugin below: it fails where it does not get what it says."""
    first, last = (
        (batch.source_stages[name].mean(0) - batch.target_stages[name].mean(0)).square().sum() for name in batch.source_stages
    )
    return first + last


def test_the_contract_hands_over_as_many_stages_as_a_method_counts() -> None:
    lines = list(check_adapter(Adapter(loss=f"{__name__}:stage_gap", stages=(-3, -1))))
    assert lines[-1] == "has a gradient with respect to the target's features"
    with pytest.raises(PluginError):
        list(check_adapter(Adapter(loss=f"{__name__}:stage_gap", stages=(-1,))))

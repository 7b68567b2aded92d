"""Errors about a key of the recipe begin with the recipe, whatever reads the images; others stay as they are."""

import pytest

from tlkit.errors import DataError, PluginError, RecipeError, TlkitError
from tlkit.recipe import naming


@pytest.mark.parametrize(
    "problem",
    [
        "data.split: no image is left.",
        "adapt: the target has 1 image.",
        'also."a b".split.per_class: is 3.',
        "select_by: snd is.",
        "data.options.file: labels.csv: has no column label.",
        "seeds.0: is -1.",
        "optimizer.momentum: is 2.",
        'freeze."layer4.0": owns no parameter.',
        "ensemble: has no member.",
    ],
)
def test_a_problem_of_a_key_begins_with_the_recipe_and_stays_an_error_of_its_kind(problem: str) -> None:
    for kind in (DataError, PluginError):
        with pytest.raises(kind) as caught, naming.named("r.toml"):
            raise kind(problem, "a remedy") from OSError("why")
        assert str(caught.value) == f"r.toml: {problem}\n  a remedy"
        assert (caught.value.problem, caught.value.hints) == (f"r.toml: {problem}", ("a remedy",))
        assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(DataError) as caught, naming.named(""):
        raise DataError(problem)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    "problem",
    [
        "images/3.png: cannot be decoded.",
        "datasets: there is none.",
        "r.toml: data: is empty.",
        "data.csv: has no column label.",
        "data.v1/cat/3.png: is not an image.",
        "head.2/weights.npz: is damaged.",
        "precision.txt: is empty.",
        "data",
    ],
)
def test_another_problem_stays_as_it_is(problem: str) -> None:
    for where in ("r.toml", ""):
        with pytest.raises(DataError) as caught, naming.named(where):
            raise DataError(problem)
        assert caught.value.problem == problem


def test_recipe_that_is_called_like_a_key_is_named_once() -> None:
    with pytest.raises(DataError) as caught, naming.named("freeze.toml"), naming.named("freeze.toml"):
        raise DataError("freeze.stem: is frozen.")
    assert caught.value.problem == "freeze.toml: freeze.stem: is frozen."


def test_each_problem_of_a_recipe_is_named_once() -> None:
    found = [TlkitError("head.kind: learns masks."), TlkitError("r.toml: data: is empty."), TlkitError("toy: has no stage.")]
    with pytest.raises(RecipeError) as caught, naming.named("r.toml"), naming.named("r.toml"):
        raise RecipeError(found)
    assert [each.problem for each in caught.value.problems] == [
        "r.toml: head.kind: learns masks.",
        *(each.problem for each in found[1:]),
    ]

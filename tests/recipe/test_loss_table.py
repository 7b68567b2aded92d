"""The table [loss]: the weights of classes."""

import pytest
from pydantic import ValidationError

from tlkit.recipe import messages
from tlkit.recipe.losses import LossTable


@pytest.mark.parametrize("value", ["balanced", {"cat": 2.0, "dog": 0.0}, {}, None])
def test_classes_are_weighted_by_their_number_or_by_a_table(value: object) -> None:
    made = LossTable.model_validate({"class_weights": value})
    assert made.class_weights == value
    assert LossTable.model_validate(made.model_dump()) == made


@pytest.mark.parametrize("value", [3, "balance", True])
def test_other_weights_are_answered_with_both_forms(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        LossTable.model_validate({"class_weights": value})
    (line,) = caught.value.errors()
    assert messages.words(line, LossTable) == (
        f"is {messages.shown(value)}.",
        '"balanced", or a table of weights by class name: { cat = 2.0, dog = 1.0 }',
    )

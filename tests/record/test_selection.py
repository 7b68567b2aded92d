"""Which of two epochs is better, and how the choice is said."""

import math

import pytest

from tlkit.record import selection


def test_of_a_loss_and_an_entropy_less_is_better() -> None:
    for by in ("loss", "entropy"):
        assert selection.worth({"loss": 0.5, by: 0.2}, by) > selection.worth({"loss": 0.5, by: 0.3}, by)
    assert selection.worth({"loss": 0.5, "snd": 0.2}, "snd") < selection.worth({"loss": 0.5, "snd": 0.3}, "snd")
    assert selection.worth({"loss": 0.5}, "snd") == (-math.inf, -0.5)


@pytest.mark.parametrize(
    ("by", "validated", "words"),
    [
        ("accuracy", True, "the best epoch by validation"),
        ("accuracy", False, "the last epoch"),
        ("snd", False, "the best epoch by snd of the target, without its labels"),
    ],
)
def test_how_an_epoch_was_chosen_is_said(by: str, validated: bool, words: str) -> None:
    assert selection.epoch_in_words(by, validated=validated) == words

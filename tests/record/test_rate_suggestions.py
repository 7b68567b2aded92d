"""Suggestions of learning rates from curves whose answer is known."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tlkit.record import rate_suggestions
from tlkit.record.range_tests import RangeTest

RATES = [10 ** (-6 + 7 * step / 99) for step in range(100)]
DECADES = np.log10(RATES)


def falling(begin: float, end: float, diverges: float = 0.0) -> list[float]:
    """Return losses that are 2 before a rate, fall to 1 at another, evenly over the logarithm, and rise after a third."""
    fall = np.interp(DECADES, [begin, end], [2.0, 1.0])
    return list(fall + np.maximum(DECADES - diverges, 0) ** 2)


def test_valley_is_the_middle_of_the_fall() -> None:
    found = rate_suggestions.valley(RATES, falling(-4, -2))
    assert found is not None
    assert math.log10(found) == pytest.approx(-3, abs=0.05)


def test_steepest_is_where_the_loss_falls_fastest() -> None:
    logistic = list(2 - 1 / (1 + np.exp(-4 * (DECADES + 2))))
    found = rate_suggestions.steepest(RATES, logistic)
    assert found is not None
    assert math.log10(found) == pytest.approx(-2, abs=7 / 99)


def test_noise_before_the_fall_moves_the_valley_little() -> None:
    losses = np.asarray(falling(-3, -1, diverges=-0.5)) + np.random.default_rng(0).normal(scale=0.05, size=100)
    found = rate_suggestions.valley(RATES, list(losses))
    assert found is not None
    assert math.log10(found) == pytest.approx(-2, abs=0.3)


def test_a_single_batch_moves_nothing() -> None:
    losses = falling(-4, -2)
    expected = rate_suggestions.valley(RATES, losses)
    losses[10] = losses[60] = 50.0
    assert rate_suggestions.valley(RATES, losses) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(
    "losses",
    [[], [2.0], [2.0] * 100, list(np.linspace(1, 2, 100)), list(np.random.default_rng(1).normal(2, 0.1, size=100))],
    ids=["none", "one", "flat", "rising", "noise"],
)
def test_nothing_is_suggested_where_the_loss_does_not_fall(losses: list[float]) -> None:
    assert rate_suggestions.valley(RATES[: len(losses)], losses) is None
    assert rate_suggestions.steepest(RATES[: len(losses)], losses) is None


def test_smoothed_loss_does_not_lag() -> None:
    line = list(np.linspace(2, 1, 100))
    assert rate_suggestions.smooth(line)[20:80] == pytest.approx(line[20:80])


def test_groups_keep_their_ratio_and_rates_have_two_digits() -> None:
    test = RangeTest.of(RATES, falling(-4, -2), arm="main", seed=0, ratios={"backbone": 0.1, "head": 1.0})
    assert test.suggested["head"] == pytest.approx(1e-3, rel=0.15)
    assert test.suggested["backbone"] == pytest.approx(test.suggested["head"] / 10, rel=0.05)
    assert all(float(f"{rate:.2g}") == rate for rate in test.suggested.values())
    assert abs(datetime.now(UTC) - datetime.fromisoformat(test.date)) < timedelta(minutes=5)

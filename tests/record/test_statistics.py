"""Intervals and tests against statsmodels, scipy and numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from tlkit.record import statistics


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (859, 1000), (1, 2), (37, 153)])
def test_wilson_is_that_of_statsmodels(successes: int, trials: int) -> None:
    found = statistics.wilson(successes, trials)
    low, high = proportion_confint(successes, trials, alpha=0.05, method="wilson")
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


def test_mcnemar_is_the_exact_test_of_statsmodels() -> None:
    draw = np.random.default_rng(0)
    for part in (0.5, 0.8, 0.97):
        first, second = draw.random(300) < 0.8, draw.random(300) < part
        table = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
        found = statistics.mcnemar(first, second)
        assert found.p == pytest.approx(reference_mcnemar(table, exact=True).pvalue, rel=1e-9)
        assert found.difference == pytest.approx(second.mean() - first.mean())


def test_mcnemar_of_equal_predictions_has_p_1() -> None:
    right = np.array([True, False, True])
    assert statistics.mcnemar(right, right).p == 1.0


def test_mcnemar_worked_by_hand() -> None:
    first = np.array([True] * 5 + [False] * 1 + [True] * 4)
    second = np.array([False] * 5 + [True] * 1 + [True] * 4)
    assert statistics.mcnemar(first, second).p == pytest.approx(2 * (1 + 6) / 2**6)  # 0 or 1 of 6, on both sides


def test_paired_t_is_that_of_scipy() -> None:
    first, second = np.array([0.81, 0.83, 0.80, 0.82]), np.array([0.84, 0.83, 0.85, 0.86])
    found, known = statistics.paired_t((second - first).tolist()), stats.ttest_rel(second, first)
    assert found is not None
    assert found.p == pytest.approx(known.pvalue)
    low, high = known.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == (pytest.approx(low), pytest.approx(high))
    assert statistics.paired_t([0.1, 0.2]) is None


@pytest.mark.parametrize(
    ("train", "held_out", "epoch"),
    [
        ([0.2, 0.5, 0.7], [0.4, 0.5, 0.6], 3),
        ([0.5, 0.3, 0.7, 0.8], [0.4, 0.5, 0.6, 0.6], 3),  # the first epoch's does not last
        ([0.5, 0.6], [0.4, 0.5], 1),
        ([0.1, 0.2], [0.4, 0.5], None),
        ([], [], None),
    ],
)
def test_crossover_is_where_train_accuracy_stays_above(train: list[float], held_out: list[float], epoch: int | None) -> None:
    assert statistics.crossover(train, held_out) == epoch

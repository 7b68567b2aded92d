"""Intervals and tests against statsmodels, scipy and numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
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
    assert found.p == pytest.approx(known.pvalue)
    low, high = known.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == (pytest.approx(low), pytest.approx(high))
    assert statistics.paired_t([0.1, 0.2]) is None
    assert statistics.paired_t([0.1, 0.1, 0.1]) is None, "t would be endless: p = 0, of three images perhaps"
    assert statistics.paired_t([0.0, 0.0, 0.0]) is None


@pytest.mark.parametrize(
    ("train", "held_out", "place"),
    [
        ([1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [1, 0.7, 0.55, 0.5, 0.53, 0.58, 0.65, 0.74], 3),
        ([1, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 0.7, 0.55, 0.5, 0.53, 0.58, 0.65, 0.74], None),  # training stands still
        ([1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [1, 0.7, 0.6, 0.55, 0.52, 0.5, 0.49, 0.6], None),  # one epoch is worse
        ([0.55, 0.3, 0.13, 0.05, 0.036, 0.031], [0.17, 0.88, 2.92, 1.29, 0.2, 0.037], None),  # it fell again: measured
        ([1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [0.9, 0.5, 0.6, 0.48, 0.6, 0.5, 0.55, 0.58], None),  # noise
        ([0.5, 0.4], [1.0, 2.0], None),
        ([], [], None),
    ],
)
def test_over_fitting_is_a_lasting_rise_of_the_held_out_loss_while_the_train_loss_falls(
    train: list[float], held_out: list[float], place: int | None
) -> None:
    assert statistics.over_fitting(train, held_out) == place


def test_a_plateau_of_noise_is_seldom_called_over_fitting() -> None:
    rng = np.random.default_rng(0)
    train = np.linspace(1, 0.1, 40).tolist()
    found = [statistics.over_fitting(train, rng.normal(0.5, 0.01, 40).tolist()) for _ in range(200)]
    assert sum(place is not None for place in found) <= 10, "5 %"


def test_ratio_of_paired_means_ends_where_the_paired_t_test_finds_a_difference() -> None:
    draws = np.random.default_rng(1)
    wholes = draws.normal(0.3, 0.02, size=6)
    parts = 0.6 * wholes + draws.normal(0, 0.02, size=6)
    found = statistics.paired_ratio(parts.tolist(), wholes.tolist())
    for ratio, expected in ((found.low, 0.05), (found.high, 0.05)):
        assert stats.ttest_rel(parts, ratio * wholes).pvalue == pytest.approx(expected, abs=1e-9)
    assert stats.ttest_rel(parts, (found.low + found.high) / 2 * wholes).pvalue > 0.05
    assert found.low < parts.mean() / wholes.mean() < found.high
    assert statistics.paired_ratio([0.1, 0.2], [0.3, 0.3]) is None
    assert statistics.paired_ratio([0.1, 0.2, 0.1], [0.3, -0.3, 0.1]) is None, "the whole may be 0"
    exact = statistics.paired_ratio([0.1] * 3, [0.4] * 3)
    assert (exact.low, exact.high) == pytest.approx((0.25, 0.25))


def test_area_under_the_curve_has_delongs_error() -> None:
    """Compared with the definition, pair by pair, and with scikit-learn's area."""
    draws = np.random.default_rng(0)
    targets = (draws.random((60, 1)) < 0.4).astype(int)
    scores = (draws.normal(size=(60, 1)) + targets).round(1)  # with ties
    area, error = statistics.auroc(scores, targets)
    above, below = scores[targets == 1], scores[targets == 0]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)  # (m, n)
    variance = wins.mean(1).var(ddof=1) / len(above) + wins.mean(0).var(ddof=1) / len(below)
    assert area == pytest.approx(roc_auc_score(targets, scores))
    assert error == pytest.approx(variance**0.5)


def test_error_of_a_mean_area_is_that_of_new_images() -> None:
    """Simulated: 300 draws of 200 images with four classes that depend on each other."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(300):
        shared = draws.normal(size=(200, 1))
        targets = (0.7 * shared + draws.normal(size=(200, 4)) > 0.5).astype(int)
        found.append(statistics.auroc(targets + shared + draws.normal(size=(200, 4)), targets))
    areas, errors = np.array(found).T
    assert errors.mean() == pytest.approx(areas.std(), rel=0.15)


def test_area_of_classes_that_say_nothing() -> None:
    """A class without positives is left out; where all is right an error is left, as of one image of a few."""
    scores, targets = np.array([[0.1, 0.5], [0.2, 0.1], [0.8, 0.3], [0.9, 0.2]]), np.array([[0, 0], [0, 0], [1, 0], [1, 0]])
    area, error = statistics.auroc(scores, targets)
    assert area == 1.0
    assert 0.1 < error < 0.5
    assert math.isnan(statistics.auroc(scores, np.zeros((4, 2), int))[0])

"""Transferability scores against values worked by hand, scikit-learn and scipy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from tlkit.advice import scores
from tlkit.errors import DataError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Score = Callable[[ArrayLike, ArrayLike], float]


def drawn(count: int, width: int, classes: int, *, apart: float = 1.0) -> tuple[Floats, Labels]:
    """Return Gaussian features whose class means lie apart, and labels with every class."""
    random = np.random.default_rng(count + width)
    labels = np.arange(count) % classes
    return random.normal(size=(count, width)) + apart * random.normal(size=(classes, width))[labels], labels


@pytest.mark.parametrize(("count", "width"), [(60, 4), (20, 30)])
def test_logme_is_the_largest_evidence_of_bayesian_ridge(count: int, width: int) -> None:
    from sklearn.linear_model import BayesianRidge

    features, labels = drawn(count, width, 3)
    models = [
        BayesianRidge(
            max_iter=3000, tol=1e-9, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, fit_intercept=False, compute_score=True
        ).fit(features, labels == each)
        for each in range(3)
    ]
    expected = np.mean([max(model.scores_) for model in models]) / count
    assert scores.logme(features, labels) == pytest.approx(expected, abs=1e-4)


def test_logme_of_features_that_say_nothing_is_the_noise_alone() -> None:
    """y is 1 half the time, so its best variance is 1/2."""
    assert scores.logme(np.zeros((4, 2)), [0, 0, 1, 1]) == pytest.approx(-0.5 * (math.log(2 * math.pi * 0.5) + 1))


def test_h_score_of_one_feature_by_hand() -> None:
    """The variance is 5, that of the class means 4."""
    assert scores.h_score([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1]) == pytest.approx(0.8)


@pytest.mark.parametrize(("count", "width"), [(60, 5), (20, 40)])
def test_h_score_is_the_trace_with_scikit_learns_covariance(count: int, width: int) -> None:
    from sklearn.covariance import LedoitWolf

    features, labels = drawn(count, width, 4)
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == each].mean(0) for each in range(4)])
    between = np.cov(means[labels], rowvar=False, bias=True)
    expected = np.trace(np.linalg.inv(fitted.covariance_) @ between) * (1 - fitted.shrinkage_)
    assert scores.h_score(features, labels) == pytest.approx(expected)


def test_leep_by_hand() -> None:
    assert scores.leep([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 1]) == pytest.approx(-2 / 3 * math.log(2))
    assert scores.leep([[0.75, 0.25], [0.25, 0.75]], [7, 3]) == pytest.approx(math.log(0.75**2 + 0.25**2))


def test_leep_refuses_rows_that_are_no_probabilities() -> None:
    with pytest.raises(DataError, match=r"leep: 1 of 2 rows are no probabilities"):
        scores.leep([[0.5, 0.5], [2.0, 3.0]], [0, 1])


def test_nleep_of_two_clusters_by_hand() -> None:
    """Half the images lie where there is one class, half where both classes are equally frequent."""
    features = np.repeat([[0.0, 0.0], [3.0, 4.0]], 20, axis=0)
    labels = np.repeat([0, 0, 1], [20, 10, 10])
    assert scores.nleep(features, labels) == pytest.approx(-0.5 * math.log(2), abs=1e-6)


def test_gbc_of_one_feature_by_hand() -> None:
    assert scores.gbc([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1]) == pytest.approx(-2 * math.exp(-2))
    assert scores.gbc([[0.0], [2.0], [3.0], [7.0]], [0, 0, 1, 1]) == pytest.approx(-2 * math.exp(-0.8) * math.sqrt(4 / 5))


def test_gbc_is_that_of_whole_covariance_matrices() -> None:
    from sklearn.decomposition import PCA

    features, labels = drawn(90, 80, 3, apart=0.3)
    reduced = PCA(64).fit_transform(features)
    means = [reduced[labels == each].mean(0) for each in range(3)]
    covariances = [np.eye(64) * reduced[labels == each].var(0).mean() for each in range(3)]
    expected = 0.0
    for one in range(3):
        for other in {0, 1, 2} - {one}:
            middle = (covariances[one] + covariances[other]) / 2
            difference = means[one] - means[other]
            logs = [np.linalg.slogdet(each)[1] for each in (middle, covariances[one], covariances[other])]
            distance = difference @ np.linalg.solve(middle, difference) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2
            expected -= math.exp(-distance)
    assert scores.gbc(features, labels) == pytest.approx(expected)


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    features, labels = drawn(70, 6, 3, apart=0.7)
    centred = features - features.mean(0)
    found = NearestNeighbors(n_neighbors=1, metric="cosine").fit(centred).kneighbors(return_distance=False)
    assert scores.nearest_neighbours(features, labels, k=1) == np.mean(labels[found[:, 0]] == labels)


def test_of_classes_with_equally_many_neighbours_the_nearest_counts() -> None:
    """At 0 and 20 degrees one neighbour is of either class and the nearer one's is right; at 50 both are of the other class."""
    angles = np.radians([0.0, 20.0, 50.0, 180.0, 200.0, 230.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert scores.nearest_neighbours(features, [1, 1, 0, 3, 3, 2], k=2) == pytest.approx(4 / 6)


@pytest.mark.parametrize("score", scores.SCORES.values(), ids=list(scores.SCORES))
class TestEveryScore:
    def test_is_larger_where_classes_lie_farther_apart(self, score: Score) -> None:
        assert score(*drawn(80, 8, 4, apart=2.0)) > score(*drawn(80, 8, 4, apart=0.1))

    @pytest.mark.parametrize("scale", [1e-30, 1e150])
    def test_does_not_depend_on_the_scale_of_the_features(self, score: Score, scale: float) -> None:
        features, labels = drawn(40, 6, 2)
        assert score(features * scale, labels) == pytest.approx(score(features, labels), rel=1e-4)

    @pytest.mark.parametrize(
        "features",
        [
            np.zeros((6, 3)),
            np.full((6, 3), 0.1),
            np.eye(6),
            np.repeat([[1.0, 2.0]], 6, axis=0) + np.eye(6, 2),
            np.random.default_rng(0).normal(size=(6, 500)),
        ],
        ids=["zero", "constant", "orthogonal", "one differs", "wide"],
    )
    @pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]], ids=str)
    def test_is_finite_for_few_images(self, score: Score, features: Floats, labels: list[int]) -> None:
        assert math.isfinite(score(features, labels))

    def test_refuses_one_class(self, score: Score) -> None:
        with pytest.raises(DataError, match="scores: the images have 1 classes"):
            score(np.ones((4, 2)), [3, 3, 3, 3])

    def test_refuses_what_is_not_finite(self, score: Score) -> None:
        with pytest.raises(DataError, match="the features of 1 of 2 images are not finite"):
            score([[1.0, math.nan], [0.0, 1.0]], [0, 1])

    def test_refuses_other_shapes(self, score: Score) -> None:
        with pytest.raises(ValueError, match=r"\(3,\).*not \(n, d\)"):
            score(np.ones((4, 2)), [0, 1, 0])


def test_all_scores_at_once() -> None:
    features, labels = drawn(30, 4, 3)
    found = scores.of(features, labels, probabilities=np.full((30, 2), 0.5))
    assert found["LEEP"] == pytest.approx(math.log(1 / 3))
    assert found["LogME"] == scores.logme(features, labels)
    assert set(found) - set(scores.of(features, labels)) == {"LEEP"}

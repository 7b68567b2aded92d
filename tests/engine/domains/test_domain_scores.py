"""Scores without labels and distances between domains: by loops, by hand, by libraries, and on clouds where the answer is known."""

import math

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import adjusted_mutual_info_score

from tlkit.engine.domains import distances, scores

DRAW = np.random.default_rng(0)


def probabilities(images: int = 9, classes: int = 4) -> np.ndarray:
    e = np.exp(DRAW.normal(size=(images, classes)) * 2)
    return np.asarray(e / e.sum(1, keepdims=True))


def test_entropy_is_scipys() -> None:
    p = probabilities()
    assert scores.entropy(p) == pytest.approx(np.mean([scipy_entropy(row) for row in p]), rel=1e-12)
    assert scores.entropy(np.eye(3)) == 0
    assert scores.entropy(np.full((2, 5), 0.2)) == pytest.approx(math.log(5))


@pytest.mark.parametrize(("images", "sharpness"), [(9, 1.0), (400, 1.0), (400, 20.0)])
def test_snd_is_the_mean_entropy_of_the_weights_of_neighbours(images: int, sharpness: float) -> None:
    """By rows, with a logarithm for every pair; 400 images are two blocks."""
    p = probabilities(images) ** sharpness
    p /= p.sum(1, keepdims=True)
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    rows = (np.delete(unit, i, axis=0) @ one / 0.05 for i, one in enumerate(unit))
    expected = np.mean([scipy_entropy(np.exp(row - row.max())) for row in rows])
    assert scores.snd(p) == pytest.approx(expected, rel=1e-12)


def test_snd_of_two_tight_groups_by_hand() -> None:
    """Six images, three of each class and sure: each has two equal neighbours, and the others weigh exp(-20) of them."""
    assert scores.snd(np.repeat(np.eye(2), 3, axis=0)) == pytest.approx(math.log(2), abs=1e-6)


def test_bnm_is_the_sum_of_singular_values() -> None:
    p = probabilities()
    expected = np.trace(scipy.linalg.sqrtm(p.T @ p)).real / math.sqrt(9 * 4)
    assert scores.bnm(p) == pytest.approx(expected, rel=1e-9)
    assert scores.bnm(np.tile(np.eye(3), (4, 1))) == pytest.approx(1)  # sure, all classes equally often
    assert scores.bnm(np.tile([[1.0, 0, 0]], (12, 1))) == pytest.approx(1 / math.sqrt(3))  # sure, one class alone


def test_ami_is_that_of_clusters_and_predictions() -> None:
    labels = np.repeat([0, 1, 2], 20)
    x = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])[labels] + DRAW.normal(size=(60, 2)) * 0.1
    assert scores.ami(x, np.eye(3)[labels]) == pytest.approx(1)
    wrong = np.where(np.arange(60) % 4 == 0, (labels + 1) % 3, labels)
    assert scores.ami(x, np.eye(3)[wrong]) == pytest.approx(
        adjusted_mutual_info_score(labels, wrong)
    )  # clusters are the labels
    assert scores.ami(np.ones((5, 2)), np.eye(3)[[0, 1, 2, 0, 1]]) == pytest.approx(0, abs=1e-9)


def cloud(shift: float = 0.0, scale: float = 1.0, images: int = 200) -> np.ndarray:
    return DRAW.normal(size=(images, 3)) * scale + shift


def test_domains_that_are_one_are_not_apart() -> None:
    found = distances.between(cloud(), cloud())
    assert found["proxy_a"] < 0.3
    assert abs(found["mmd"]) < 0.01
    assert found["covariance"] < 0.01


def test_domains_that_a_line_parts_have_a_proxy_a_distance_of_2() -> None:
    assert distances.proxy_a(cloud(), cloud(20.0, images=40)) == 2.0


def test_mmd_is_the_discrepancy_by_loops() -> None:
    x, y = DRAW.normal(size=(5, 2)), DRAW.normal(size=(6, 2)) + 1
    both = np.concatenate([x, y])
    width = np.mean([((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j])

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return sum(math.exp(-((a - b) ** 2).sum() / (2.0**power * width)) for power in (-2, -1, 0, 1, 2)) / 5

    expected = (
        np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        + np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    assert distances.mmd(x, y) == pytest.approx(expected, rel=1e-9)
    assert distances.mmd(np.ones((3, 2)), np.ones((4, 2))) == 0


def test_covariance_distance_by_hand() -> None:
    """One feature, -1 and 1 against -3 and 3: variances 2 and 18; the deviation of all four is sqrt(5), so 0.4 and 3.6."""
    found = distances.covariance(np.array([[-1.0], [1.0]]), np.array([[-3.0], [3.0]]))
    assert found == pytest.approx(3.2**2 / 4)


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_a_distance_does_not_depend_on_the_unit(name: str) -> None:
    x, y = cloud(), cloud(0.7, 2.0)
    distance = distances.DISTANCES[name]
    assert distance(x * 1000 + 5, y * 1000 + 5) == pytest.approx(distance(x, y), rel=1e-5)

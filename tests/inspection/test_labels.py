"""Labels that look wrong: against cleanlab, and against numbers worked by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from tlkit.inspection import labels, logistic


def mistaken(classes: int, images: int, wrong: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64], set[int]]:
    """Clouds of points with some labels that are another class's: (n, 16), (n,), the rows that are wrong."""
    generator = np.random.default_rng(seed)
    true = np.arange(images) % classes
    points = generator.normal(size=(images, 16)) + 4 * np.eye(16)[true]
    rows = generator.choice(images, wrong, replace=False)
    given = true.copy()
    given[rows] = (true[rows] + 1) % classes
    return points.astype(np.float32), given.astype(np.int64), set(rows.tolist())


def test_label_is_doubtful_where_another_class_is_as_likely_as_it_usually_is() -> None:
    """Means of their own class: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.45) / 2 = 0.575."""
    given = np.array([0, 0, 0, 1, 1])
    sure = np.array([0.9, 0.8, 0.1, 0.3, 0.55])
    probabilities = np.stack([sure, 1 - sure], axis=1)
    # Row 2 is class 1 with 0.9, more than 0.575. Row 4 looks like class 0 with 0.55, less than 0.6.
    assert labels.doubtful(given, probabilities) == [(2, 1)]


def test_label_is_doubtful_where_another_class_is_surer_than_is_asked_for() -> None:
    """The mean of class 1 is (0.99 + 0.97 + 0.95) / 3 = 0.97; row 2 is class 1 with 0.9, row 5 class 0 with 0.05."""
    given = np.array([0, 0, 0, 1, 1, 1])
    second = np.array([0.02, 0.01, 0.9, 0.99, 0.97, 0.95])
    probabilities = np.stack([1 - second, second], axis=1)
    assert labels.doubtful(given, probabilities) == []
    assert labels.doubtful(given, probabilities, sure=0.85) == [(2, 1)]


def test_doubtful_labels_are_cleanlab_s() -> None:
    filters = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed")
    for classes, seed in ((2, 0), (4, 1), (10, 2)):
        points, given, _ = mistaken(classes, 400, 30, seed)
        probabilities = labels.out_of_fold(points, given, np.arange(400), classes)
        theirs = filters.find_label_issues(
            given, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1
        )
        assert [row for row, _ in labels.doubtful(given, probabilities)] == theirs.tolist()
        assert len(theirs) > 10


def test_mistaken_labels_are_found() -> None:
    points, given, wrong = mistaken(4, 400, 20)
    found = {row for row, _ in labels.doubtful(given, labels.out_of_fold(points, given, np.arange(400), 4))}
    assert len(found & wrong) >= 15
    assert len(found - wrong) <= 10


def test_probabilities_are_of_fits_without_the_image_and_its_duplicates() -> None:
    """Every image is there twice, with the same wrong label; a fit that has seen one of the two would believe it."""
    points, given, wrong = mistaken(2, 100, 10)
    twice, both = np.concatenate([points, points]), np.concatenate([given, given])
    apart = np.concatenate([np.arange(100), np.arange(100)])
    probabilities = labels.out_of_fold(twice, both, apart, 2)
    np.testing.assert_allclose(probabilities[:100], probabilities[100:], atol=1e-9)
    own = probabilities[sorted(wrong), given[sorted(wrong)]]
    assert (own < 0.5).sum() >= 9


def test_classes_with_fewer_groups_than_folds_are_not_judged() -> None:
    given = np.array([0] * 6 + [1] * 6 + [2] * 3)
    apart = np.array([0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12])  # of class 1 four groups, of class 2 three
    np.testing.assert_array_equal(labels.judged(given, apart, 3), given == 0)


@pytest.mark.parametrize("classes", [2, 4])
def test_fits_made_together_are_scikit_learn_s(classes: int) -> None:
    points, given, _ = mistaken(classes, 90, 12)
    inputs = PCA().fit_transform(points.astype(np.float64)) / 4
    seen = np.random.default_rng(1).random((3, 90)) < 0.7
    seen[2, given == 1] = False  # a class that it has not seen
    strengths = np.array([0.1, 10.0, 1.0])
    found, weights = logistic.fit(inputs, given, seen, strengths, classes)
    for place, (rows, strength) in enumerate(zip(seen, strengths, strict=True)):
        present = np.unique(given[rows])
        if len(present) == 1:
            assert (found[present[0], place] == 1).all()
            continue
        by_hand = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(inputs[rows], given[rows])
        np.testing.assert_allclose(found[present, place], by_hand.predict_proba(inputs).T, atol=2e-3)
        assert (np.delete(found[:, place], present, axis=0) == 0).all()
    again, _ = logistic.fit(inputs, given, seen, strengths, classes, start=weights)
    np.testing.assert_allclose(again, found, atol=2e-3)


@pytest.mark.parametrize("images", [1, 6])  # of a group
def test_folds_divide_no_group_and_hold_each_image_once(images: int) -> None:
    given = np.repeat(np.arange(60), images) % 3 if images == 1 else np.tile(np.arange(3), 60 * images // 3)
    apart = np.repeat(np.arange(60), images)
    held = labels._folds(given, apart, 0)
    assert (held.sum(0) == 1).all()
    assert all(len(np.unique(held[:, apart == each].argmax(0))) == 1 for each in range(60))
    assert (np.array([np.bincount(given[rows], minlength=3) for rows in held]) >= 2 * images).all()

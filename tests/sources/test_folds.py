"""Folds of a cross-validation: each image is tested once, classes are divided evenly, and groups stay whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tlkit.errors import DataError
from tlkit.recipe.tables import SplitTable
from tlkit.sources import folds
from tlkit.sources.splits import Chosen

COUNTS = st.lists(st.integers(5, 23), min_size=2, max_size=5)
FOLDS = st.integers(2, 5)
SEEDS = st.integers(0, 2**31 - 1)


def labels_of(counts: list[int]) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)


def names_of(labels: NDArray[np.int64]) -> list[str]:
    return [f"class{label}" for label in range(int(labels.max()) + 1)]


def table_of(fold_of: NDArray[np.int64], labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Images of each fold and class."""
    return np.array([np.bincount(labels[fold_of == fold], minlength=labels.max() + 1) for fold in range(1, count + 1)])


def scikit_learn(splitter: StratifiedKFold | StratifiedGroupKFold, labels: NDArray[np.int64], groups: object = None) -> NDArray:
    fold_of = np.zeros(len(labels), dtype=np.int64)
    for fold, (_, tested) in enumerate(splitter.split(labels, labels, groups), start=1):
        fold_of[tested] = fold
    return fold_of


def run(labels: NDArray[np.int64], fold: int, count: int, groups: object = None, *, seed: int = 0, **table: float) -> Chosen:
    return folds.choose(
        labels, names_of(labels), SplitTable.model_validate(table),
        fold=fold, folds=count, seed=seed, held_out=False, groups=groups,
    )  # fmt: skip


@settings(deadline=None)
@given(counts=COUNTS, count=FOLDS, seed=SEEDS)
def test_folds_are_as_even_as_those_of_scikit_learn(counts: list[int], count: int, seed: int) -> None:
    labels = labels_of(counts)
    ours = table_of(folds.divide(labels, names_of(labels), folds=count, seed=seed), labels, count)
    theirs = table_of(scikit_learn(StratifiedKFold(count, shuffle=True, random_state=0), labels), labels, count)
    for table in (ours, theirs):
        assert (table.sum(0) == counts).all()
        assert np.ptp(table, axis=0).max() <= 1  # of every class
        assert np.ptp(table.sum(1)) <= 1
    assert sorted(ours.sum(1)) == sorted(theirs.sum(1))


@settings(deadline=None)
@given(counts=COUNTS, count=FOLDS, seed=SEEDS, validation=st.sampled_from([0.0, 0.1, 0.4]))
def test_every_image_is_tested_in_exactly_one_fold(counts: list[int], count: int, seed: int, validation: float) -> None:
    labels = labels_of(counts)
    runs = [run(labels, fold, count, seed=seed, validation=validation) for fold in range(1, count + 1)]
    assert sorted(np.concatenate([each.test for each in runs]).tolist()) == list(range(len(labels)))
    for each in runs:
        whole = np.concatenate([each.train, each.validation, each.test])
        assert sorted(whole.tolist()) == list(range(len(labels)))
        assert all((np.diff(part) > 0).all() for part in (each.train, each.validation, each.test))
        assert (len(each.validation) > 0) == (validation > 0)


def test_validation_images_are_a_part_of_the_other_folds() -> None:
    labels = labels_of([50, 100])
    chosen = run(labels, 1, 5, validation=0.25)
    assert [np.bincount(labels[part]).tolist() for part in (chosen.test, chosen.validation, chosen.train)] == [
        [10, 20], [10, 20], [30, 60],
    ]  # fmt: skip


def test_another_seed_divides_otherwise_and_the_same_seed_does_not() -> None:
    labels = labels_of([20, 20])
    one, again, other = (folds.divide(labels, names_of(labels), folds=4, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=15, max_size=40), count=FOLDS, seed=SEEDS, validation=st.sampled_from([0.0, 0.1])
)
def test_groups_are_whole_in_every_part_of_every_fold(sizes: list[int], count: int, seed: int, validation: float) -> None:
    labels = np.repeat(np.arange(len(sizes)) % 2, sizes).astype(np.int64)
    groups = np.repeat([f"patient{number}" for number in range(len(sizes))], sizes)
    tested = []
    for fold in range(1, count + 1):
        try:
            chosen = run(labels, fold, count, groups, seed=seed, validation=validation)
        except DataError:  # the other folds hold a class in one group, which cannot be both trained on and held out
            assert validation > 0
            return
        sides = [set(groups[part].tolist()) for part in (chosen.train, chosen.validation, chosen.test)]
        assert sum(map(len, sides)) == len(set().union(*sides))
        assert len(chosen.test)
        tested.append(chosen.test)
    assert sorted(np.concatenate(tested).tolist()) == list(range(len(labels)))


def test_folds_of_groups_are_as_even_as_those_of_scikit_learn() -> None:
    """Measured by the largest difference between a class's share in a fold and in all images."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, 120)
    labels = np.repeat(random.integers(0, 3, 120), sizes).astype(np.int64)
    groups = np.repeat([f"patient{number}" for number in range(120)], sizes)

    def unevenness(fold_of: NDArray[np.int64]) -> float:
        table = table_of(fold_of, labels, 5)
        return float(np.abs(table / np.bincount(labels) - 0.2).max())

    ours = unevenness(folds.divide(labels, names_of(labels), folds=5, seed=0, groups=groups))
    assert ours <= unevenness(scikit_learn(StratifiedGroupKFold(5), labels, groups)) + 0.01


def test_class_with_fewer_images_than_folds_is_refused() -> None:
    with pytest.raises(DataError, match="class class1 has 3 training images, for 5 folds") as caught:
        run(labels_of([20, 3]), 1, 5)
    assert caught.value.hints[0] == "cross_validation.folds = 3 at most"


def test_class_of_fewer_groups_than_folds_is_refused() -> None:
    labels = np.repeat([0, 1], [20, 10]).astype(np.int64)
    groups = np.array([f"p{index}" for index in range(20)] + ["a", "b"] * 5)
    with pytest.raises(DataError, match="class class1 has training images of 2 groups, for 3 folds"):
        run(labels, 1, 3, groups)


def test_groups_too_few_beside_a_fold_are_said_of_the_fold() -> None:
    """Two groups of each class: one is the fold's, and the other cannot be both trained on and validated on."""
    labels = np.repeat([0, 1], 4)
    groups = np.array(["a", "a", "b", "b", "c", "c", "d", "d"])
    with pytest.raises(DataError, match="beside those of fold 1 of 2, which are tested") as caught:
        folds.choose(labels, ("x", "y"), SplitTable(), fold=1, folds=2, seed=0, held_out=False, groups=groups)
    assert "data.split.validation = 0" in str(caught.value)

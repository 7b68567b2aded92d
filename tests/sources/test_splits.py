"""Few labels and validation images: class-balanced, seeded, and never the same image twice."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import hold_out
from tlkit.recipe.tables import SplitTable
from tlkit.sources import splits
from tlkit.sources.splits import Chosen, choose


def labels_of(*counts: int) -> NDArray[np.int64]:
    """Labels with so many images of each class, mixed."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels).astype(np.int64)


def split(
    labels: NDArray[np.int64], *, seed: int = 0, held_out: bool = False, classes: int | None = None, **table: float
) -> Chosen:
    names = [f"class{label}" for label in range(classes or int(labels.max()) + 1)]
    return choose(labels, names, SplitTable.model_validate(table), seed=seed, held_out=held_out)


def per_class(labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> list[int]:
    return np.bincount(labels[chosen], minlength=int(labels.max()) + 1).tolist()


TABLES = st.one_of(
    st.builds(dict, validation=st.floats(0, 0.99)),
    st.builds(dict, validation=st.floats(0, 0.99), train_per_class=st.integers(1, 8)),
    st.builds(dict, validation=st.floats(0, 0.99), train=st.integers(1, 40)),
)


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=5), table=TABLES, seed=st.integers(0, 2**31 - 1), own=st.booleans()
)
def test_no_image_is_in_both_parts_or_twice_and_positions_ascend(
    counts: list[int], table: dict[str, float], seed: int, own: bool
) -> None:
    labels = labels_of(*counts)
    try:
        chosen = split(labels, seed=seed, held_out=own, **table)
    except DataError:
        asked = table.get("train", sum(counts))
        assert not len(counts) <= asked <= sum(counts) or table.get("train_per_class", 0) > min(counts)
        return
    both = np.concatenate([chosen.train, chosen.validation])
    assert len(np.unique(both)) == len(both) <= len(labels)
    assert (np.diff(chosen.train) > 0).all()
    assert (np.diff(chosen.validation) > 0).all()
    if own or table["validation"] == 0:
        assert len(chosen.validation) == 0


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_validation_takes_its_part_of_every_class(fraction: float) -> None:
    labels = labels_of(40, 80, 120)
    chosen = split(labels, validation=fraction)
    assert per_class(labels, chosen.validation) == [int(fraction * count) for count in (40, 80, 120)]
    assert len(chosen.train) + len(chosen.validation) == 240


def test_tenth_of_the_training_images_is_held_out_where_nothing_is_said() -> None:
    labels = labels_of(50, 50)
    assert per_class(labels, split(labels).validation) == [5, 5]


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_class_of_two_or_more_images_has_some_in_both_parts(count: int, fraction: float) -> None:
    labels = labels_of(count, 100)
    chosen = split(labels, validation=fraction)
    assert per_class(labels, chosen.train)[0] >= 1
    assert per_class(labels, chosen.validation)[0] >= 1


def test_only_image_of_a_class_is_trained_on() -> None:
    labels = labels_of(1, 10)
    assert per_class(labels, split(labels, validation=0.5).train) == [1, 5]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_train_per_class_gives_every_class_as_many(count: int) -> None:
    labels = labels_of(10, 20, 30)
    assert per_class(labels, split(labels, train_per_class=count).train) == [count] * 3


def test_few_labels_leave_the_validation_images_to_the_rest() -> None:
    """Validation is a part of all images of a class, taken from those not trained on."""
    labels = labels_of(100, 100)
    assert per_class(labels, split(labels, train_per_class=4, validation=0.2).validation) == [20, 20]
    assert per_class(labels, split(labels, train_per_class=90, validation=0.2).validation) == [10, 10]
    assert len(split(labels, train_per_class=100, validation=0.2).validation) == 0


@pytest.mark.parametrize(
    ("counts", "train", "expected"),
    [
        ((10, 10, 10), 9, [3, 3, 3]),
        ((10, 10, 10), 10, [3, 3, 4]),
        ((10, 10, 10), 11, [3, 4, 4]),
        ((2, 10, 10), 12, [2, 5, 5]),
        ((2, 10, 10), 13, [2, 5, 6]),
        ((1, 3, 50), 20, [1, 3, 16]),
        ((1, 3, 50), 54, [1, 3, 50]),
    ],
)
def test_train_is_shared_out_as_even_as_can_be(counts: tuple[int, ...], train: int, expected: list[int]) -> None:
    """Whatever class the odd ones go to."""
    labels = labels_of(*counts)
    assert sorted(per_class(labels, split(labels, train=train).train)) == sorted(expected)


def test_a_class_that_nothing_is_left_of_to_train_on_is_named() -> None:
    with pytest.raises(DataError, match=r"no image of class \w+ is left to train on"):
        split(labels_of(10, 10, 10), train=2)


def test_the_odd_image_goes_to_another_class_with_another_seed() -> None:
    labels = labels_of(10, 10, 10)
    lucky = {int(np.argmax(per_class(labels, split(labels, train=10, seed=seed).train))) for seed in range(20)}
    assert lucky == {0, 1, 2}


def test_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    labels = labels_of(50, 50)
    first, again, other = (split(labels, train_per_class=10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.validation, again.validation)
    assert set(first.train) != set(other.train)
    assert set(first.validation) != set(other.validation)


def test_more_labels_keep_the_fewer_ones() -> None:
    """A curve over the number of labels compares sets that grow."""
    labels = labels_of(50, 50)
    sets = [set(split(labels, train_per_class=count).train) for count in (1, 5, 20)]
    assert sets[0] < sets[1] < sets[2]


def test_every_image_of_a_class_may_be_chosen() -> None:
    labels = labels_of(5, 5)
    seen = Counter(int(image) for seed in range(200) for image in split(labels, train_per_class=1, seed=seed).train)
    assert len(seen) == 10
    # 200 draws of 1 in 5: 40 expected, standard deviation sqrt(200 * 0.2 * 0.8) = 5.7; five of them to either side.
    assert all(abs(count - 40) < 29 for count in seen.values())


def test_choice_in_one_class_does_not_depend_on_the_others() -> None:
    few, many = np.array([0] * 20 + [1] * 3), np.array([0] * 20 + [1] * 50)
    chosen = [split(labels, train_per_class=3).train for labels in (few, many)]
    np.testing.assert_array_equal(chosen[0][chosen[0] < 20], chosen[1][chosen[1] < 20])


def test_set_with_validation_images_of_its_own_gives_none_up() -> None:
    labels = labels_of(10, 10)
    chosen = split(labels, held_out=True, validation=0.3)
    assert (len(chosen.train), len(chosen.validation)) == (20, 0)


def test_class_with_too_few_images_is_named_with_both_counts() -> None:
    with pytest.raises(DataError, match="class1 has 3 training images, and 5 are asked for") as caught:
        split(labels_of(9, 3), train_per_class=5)
    assert caught.value.hints == ("data.split.train_per_class = 3 or less, or more images",)


def test_more_training_images_than_there_are_are_refused_with_their_number() -> None:
    with pytest.raises(DataError, match=r"data\.split\.train: is 20; there are 12 training images") as caught:
        split(labels_of(9, 3), train=20)
    assert caught.value.hints == ("data.split.train = 12 or less; leave it out to train on all",)


def test_more_images_than_there_are_is_refused_with_both_counts() -> None:
    with pytest.raises(DataError, match=r"data\.split\.train: is 13; there are 12 training images"):
        split(labels_of(9, 3), train=13)


# ---- parts of all images


@pytest.mark.parametrize(
    ("fractions", "counts", "expected"),
    [
        ([0.1, 0.1, 0.8], [197, 200], [[20, 20], [20, 20], [157, 160]]),  # hymenoptera: round(19.7) is 20
        ([0.01, 0.01, 0.98], [31, 800], [[1, 8], [1, 8], [29, 784]]),  # caltech101's least and largest: never less than one
        ([0.5, 0.0, 0.5], [10, 4], [[5, 2], [0, 0], [5, 2]]),
        ([0.9, 0.1, 0.0], [10, 20], [[9, 18], [1, 2], [0, 0]]),
        ([0.98, 0.01, 0.01], [3, 3], [[1, 1], [1, 1], [1, 1]]),  # and never so many that the test set has none
        ([1.0, 0.0, 0.0], [3, 2], [[3, 2], [0, 0], [0, 0]]),
    ],
)
def test_fractions_are_of_every_class_and_the_test_set_is_the_rest(
    fractions: list[float], counts: list[int], expected: list[list[int]]
) -> None:
    labels = labels_of(*counts)
    chosen = split(labels, fractions=fractions)
    assert chosen.test is not None
    assert [per_class(labels, part) for part in (chosen.train, chosen.validation, chosen.test)] == expected
    every = np.concatenate([chosen.train, chosen.validation, chosen.test])
    assert sorted(every.tolist()) == list(range(len(labels)))


def test_a_class_with_fewer_images_than_parts_is_refused() -> None:
    with pytest.raises(DataError, match="class class1 has 2 images for 3 parts"):
        split(labels_of(10, 2), fractions=[0.1, 0.1, 0.8])
    assert split(labels_of(10, 2), fractions=[0.5, 0.0, 0.5]).test is not None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"fractions": [0.5, 0.5, 0.5]}, "they must add up to 1"),
        ({"fractions": [0.0, 0.5, 0.5]}, "the first must be above 0"),
        ({"fractions": [0.5, 0.5]}, "hold at least 3"),
        ({"fractions": [0.1, 0.1, 0.8], "train": 5}, "leave out train"),
        ({"fractions": [0.1, 0.1, 0.8], "validation": 0.2}, "leave out train"),
    ],
)
def test_fractions_that_mean_nothing_are_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SplitTable.model_validate(table)


def test_another_seed_takes_other_images_for_every_part() -> None:
    labels = labels_of(50, 50)
    one, other = (split(labels, seed=seed, fractions=[0.2, 0.2, 0.6]) for seed in (0, 1))
    assert split(labels, fractions=[0.2, 0.2, 0.6]).train.tolist() == one.train.tolist()
    assert one.train.tolist() != other.train.tolist()
    assert one.validation.tolist() != other.validation.tolist()


# ---- groups


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=12, max_size=40),
    table=st.sampled_from(
        [
            {"validation": 0.2},
            {"fractions": [0.4, 0.2, 0.4]},
            {"train_per_class": 3, "validation": 0.1},
            {"train": 7, "validation": 0.1},
        ]
    ),
    seed=st.integers(0, 1000),
)
def test_a_group_is_never_parted(sizes: list[int], table: dict[str, object], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)) % 2, sizes).astype(np.int64)
    groups = np.repeat([f"patient{number}" for number in range(len(sizes))], sizes)
    try:
        chosen = choose(labels, ["a", "b"], SplitTable.model_validate(table), seed=seed, held_out=False, groups=groups)
    except DataError:
        return
    parts = [chosen.train, chosen.validation, *([chosen.test] if chosen.test is not None else [])]
    sides = [set(groups[part].tolist()) for part in parts]
    assert not any(one & other for index, one in enumerate(sides) for other in sides[index + 1 :])
    every = np.concatenate(parts)
    assert len(np.unique(every)) == len(every)
    if "train_per_class" in table:
        assert all(count <= 3 for count in per_class(labels, chosen.train))
    if "train" in table:
        assert len(chosen.train) <= 7


def test_parts_of_groups_are_near_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 8, 300)
    labels = np.repeat(rng.integers(0, 2, 300), sizes).astype(np.int64)
    groups = np.repeat([f"patient{number}" for number in range(300)], sizes)
    chosen = choose(
        labels, ["a", "b"], SplitTable.model_validate({"fractions": [0.1, 0.1, 0.8]}), seed=0, held_out=False, groups=groups
    )
    assert chosen.test is not None
    total = np.bincount(labels)
    for part, fraction in ((chosen.train, 0.1), (chosen.validation, 0.1), (chosen.test, 0.8)):
        assert np.bincount(labels[part]) / total == pytest.approx(np.full(2, fraction), abs=0.01)


def test_a_class_of_too_few_groups_is_refused() -> None:
    labels = np.array([0] * 10 + [1] * 6, np.int64)
    groups = np.array([f"p{number}" for number in range(10)] + ["one"] * 6)
    with pytest.raises(DataError, match="class b has images of 1 groups, too few"):
        choose(
            labels, ["a", "b"], SplitTable.model_validate({"fractions": [0.4, 0.3, 0.3]}), seed=0, held_out=False, groups=groups
        )


@given(counts=st.lists(st.integers(2, 12), min_size=2, max_size=4), fraction=st.floats(0.05, 0.6))
def test_images_set_aside_depend_on_their_keys_alone(counts: list[int], fraction: float) -> None:
    labels = [f"class{label}" for label, count in enumerate(counts) for _ in range(count)]
    keys = [f"file{index}" for index in range(len(labels))]
    aside = dict(zip(keys, hold_out(labels, keys, fraction), strict=True))
    order = np.random.default_rng(0).permutation(len(labels))
    again = hold_out([labels[index] for index in order], [keys[index] for index in order], fraction)
    assert [aside[keys[index]] for index in order] == again
    for label, count in enumerate(counts):
        mine = [aside[key] for key, each in zip(keys, labels, strict=True) if each == f"class{label}"]
        assert sum(mine) == min(max(1, round(fraction * count)), count - 1)


def test_groups_of_many_classes_are_assigned_as_by_a_whole_table_and_without_its_memory() -> None:
    random = np.random.default_rng(0)
    groups, classes, images = 3000, 400, 9000
    member, labels = random.integers(0, groups, images), random.integers(0, classes, images)
    wanted, order = np.full((3, classes), images / classes / 3), random.permutation(groups)
    tracemalloc.start()
    found = splits.assign_groups(splits.count_groups(member, labels, groups=groups, classes=classes), wanted, order)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < groups * classes * 8 / 5
    table = np.zeros((groups, classes), dtype=np.int64)
    np.add.at(table, (member, labels), 1)
    lack, expected = wanted.copy(), np.zeros(groups, dtype=np.int64)
    for group in order[np.argsort(-table[order].sum(1), kind="stable")]:
        expected[group] = np.argmax((table[group] * lack / np.maximum(wanted, 1)).sum(1))
        lack[expected[group]] -= table[group]
    np.testing.assert_array_equal(found, expected)

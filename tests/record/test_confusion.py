"""The order and the pairs of a confusion matrix."""

import numpy as np

from tlkit.record import confusion


def test_classes_that_are_confused_stand_near_each_other() -> None:
    matrix = 90 * np.eye(6, dtype=int)
    for first, second in ((0, 3), (1, 4), (2, 5)):
        matrix[first, second] = matrix[second, first] = 10
    found = confusion.order(matrix)
    assert sorted(found) == list(range(6))
    assert all(abs(found.index(first) - found.index(second)) == 1 for first, second in ((0, 3), (1, 4), (2, 5)))


def test_most_confused_pairs_come_first() -> None:
    matrix = np.array([[5, 2, 0], [0, 9, 1], [7, 0, 3]])
    assert confusion.pairs(matrix, most=2) == [(2, 0, 7), (0, 1, 2)]
    assert confusion.pairs(matrix, most=9) == [(2, 0, 7), (0, 1, 2), (1, 2, 1)]

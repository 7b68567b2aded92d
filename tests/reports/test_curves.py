"""curves.svg: several runs of an arm are one line, their mean, in the band from the lowest to the highest."""

from typing import Any

import numpy as np

from tlkit.reports import curves


def epochs(*accuracies: float | None) -> list[dict[str, Any]]:
    return [
        {"epoch": n, "train": {"accuracy": value, "loss": 1.0}, "validation": None, "test": {"accuracy": value, "loss": 1.0}}
        for n, value in enumerate(accuracies, 1)
    ]


def test_runs_of_an_arm_are_their_mean_in_a_band() -> None:
    made = curves.figure(
        [("a", epochs(0.2, 0.4, 0.9)), ("a", epochs(0.4, 0.8)), ("b", epochs(0.5, None, 0.7))], held_out="test"
    )
    axes = made.axes[1]
    styles = [line.get_linestyle() for line in axes.lines]
    np.testing.assert_allclose([line.get_xydata() for line in axes.lines[:2]], [[(1, 0.3), (2, 0.6), (3, 0.9)]] * 2)
    np.testing.assert_allclose(axes.lines[2].get_xydata(), [(1, 0.5), (3, 0.7)])
    assert styles == ["--", "-", "--", "-"]
    for band in axes.collections:  # "b" is one run and has none
        (outline,) = band.get_paths()
        assert {(1, 0.2), (1, 0.4), (2, 0.4), (2, 0.8), (3, 0.9)} == {tuple(corner) for corner in outline.vertices}
    assert len(axes.collections) == 2
    words = [text.get_text() for text in made.legends[0].get_texts()]
    assert words == ["a", "b", "test", "train", "lowest to highest run"]


def test_one_run_of_an_arm_has_no_band_and_more_epochs_have_no_marks() -> None:
    made = curves.figure([("a", epochs(*([0.5] * 11))), ("b", epochs(0.5))], held_out="test")
    assert [line.get_marker() for line in made.axes[1].lines] == ["", "", "o", "o"]
    assert not made.axes[1].collections
    assert "lowest to highest run" not in [text.get_text() for text in made.legends[0].get_texts()]

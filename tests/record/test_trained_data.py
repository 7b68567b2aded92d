"""What a run's files tell of the data sets that it was trained on."""

from pathlib import Path

import pytest

from tlkit.record import run_folder, trained_data
from tlkit.record.trained_data import ANEW, Fitted

RECIPE = """format = 1
name = "mine"
backbone = {{ name = "toy", weights = "none" }}
lr_groups = {{ head = 0.1 }}
data = {{ name = "{data}", options = {{ path = "images"{options} }}, split = {{ {split} }} }}
"""


def _run(folder: Path, record: dict[str, object], data: str = "folder", options: str = "", split: str = "") -> Path:
    (folder / run_folder.RECIPE).write_text(RECIPE.format(data=data, options=options, split=split))
    run_folder.write_resolved(folder, {"format": 1, **record})
    return folder


@pytest.mark.parametrize(
    ("record", "recipe", "expected"),
    [
        ({"inputs": {"data": "A"}}, {}, [("A", "folder {}")]),
        ({"inputs": {"data": "A"}}, {"options": ", test_fraction = 0.5"}, [("A", 'folder {"test_fraction":0.5}')]),
        ({"inputs": {"data": "A"}}, {"split": "fractions = [0.8, 0.2, 0.0]"}, [("A", ANEW)]),
        ({"model": {"trained_on": ["A"]}}, {}, [("A", "folder {}")]),
        ({"model": {"trained_on": ["A"]}}, {"data": "nobody's"}, [("A", "")]),
        ({"model": {"trained_on": ["A", "B"]}}, {}, [("A", ""), ("B", "")]),
        ({"model": {"trained_on": ["A", "B"], "splits": ["folder {}"]}}, {}, [("A", ""), ("B", "")]),
        ({"model": {"trained_on": []}}, {}, []),
    ],
    ids=["run", "options", "divided anew", "old model", "no plugin", "old model of two", "damaged", "nothing"],
)
def test_the_recipe_tells_what_one_data_set_held_out(
    tmp_path: Path, record: dict[str, object], recipe: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    assert trained_data.of_run(_run(tmp_path, record, **recipe)) == tuple(Fitted(*each) for each in expected)


def test_each_way_to_hold_images_out_is_kept_once(tmp_path: Path) -> None:
    fits = [Fitted("A", "folder {}"), Fitted("A", ANEW), Fitted("B", 'csv {"split":"part"}'), Fitted("C", "")]
    read = trained_data.of_run(_run(tmp_path, {"model": trained_data.record([*fits, fits[0], fits[3]])}))
    assert read == tuple(fits)


@pytest.mark.parametrize(
    ("adapt", "also", "expected"),
    [
        ('method = "mcc"', "also.dark.split.per_class = 6\n", [("D", ANEW)]),
        ('method = "mcc", images = "all"', "", [("D", ANEW)]),
        ('method = "mcc"', "also.dark.options.splits = {}\n", [("D", 'folder {"splits":{}}')]),
        ('method = "none", labels_per_class = 3', "", [("D", "folder {}")]),
        ('method = "none"', "", []),
    ],
)
def test_the_target_and_images_without_labels_are_trained_on_too(
    tmp_path: Path, adapt: str, also: str, expected: list[tuple[str, str]]
) -> None:
    folder = _run(tmp_path, {"inputs": {"data": "A", "also.dark": "D", "also.other": "O", "data.unlabelled": "U"}})
    more = f"also.dark.name = 'folder'\nalso.other.name = 'folder'\n{also}adapt = {{ target = 'dark', {adapt} }}\n"
    (folder / run_folder.RECIPE).write_text((folder / run_folder.RECIPE).read_text() + more)
    found = [("A", "folder {}"), *expected, ("U", ANEW)]
    assert trained_data.of_run(folder) == tuple(Fitted(*each) for each in found)


def test_test_images_of_other_options_may_have_been_trained_on() -> None:
    now = 'csv {"split":"part"}'
    assert [trained_data.tested(Fitted("A", each), now) for each in (now, "csv {}", ANEW, "")] == [False, True, True, False]
    assert not trained_data.tested(Fitted("A", 'csv {"split":"part","test_fraction":0.5,"range":4095}'), now), "it has its own"
    mine, other = "nobody's {}", 'nobody\'s {"range":4095}'  # what its options mean is not known
    assert [trained_data.tested(Fitted("A", mine), each) for each in (mine, other)] == [False, True]

"""Which images each part has is decided once, and what is counted is what was decided."""

from pathlib import Path

import numpy as np
import pytest
from toy_training import training

from tlkit.errors import DataError
from tlkit.plans import dataset_facts, dataset_parts, other_parts, resolve
from tlkit.plans.resolved import Resolved
from tlkit.plugin import DataFiles, Images, Split
from tlkit.run import decoding
from tlkit.sources.places import Places

FOUND = DataFiles(Path(), ())


def arm(recipe: Path, *settings: str) -> Resolved:
    return resolve.load(recipe, settings, Places(recipe=recipe.parent, offline=True))[1]["main"]


def images(**counts: int) -> Images:
    """So many images of two classes by turns in each split."""
    return Images(("a", "b"), {name: Split(np.arange(count) % 2, pixels=None) for name, count in counts.items()})


def test_every_training_image_is_in_one_part(toy_recipe: Path) -> None:
    parts = dataset_parts.select(arm(toy_recipe, "data.split.validation=0.25"), images(train=40), seed=3)
    assert parts.keys() == {"train", "validation"}
    assert {part.split for part in parts.values()} == {"train"}
    assert np.array_equal(np.sort(np.concatenate([part.indices for part in parts.values()])), np.arange(40))
    assert len(parts["validation"].indices) == 10


@pytest.mark.parametrize(("per_class", "fewer"), [(1, ()), (2, ("also.other.split.per_class = 1",))])
def test_hint_where_no_image_is_left_to_test(toy_recipe: Path, per_class: int, fewer: tuple[str, ...]) -> None:
    resolved = arm(toy_recipe, f'also.other={{name="synthetic", split={{per_class={per_class}}}}}')
    with pytest.raises(DataError, match=f"per_class: is {per_class}, and no image is left to test") as caught:
        other_parts.choose(resolved, "other", images(test=1, all=2 * per_class), seed=0)
    assert caught.value.hints == (", or ".join([*fewer, "more images of each class"]),)


def test_validation_and_test_images_of_the_data_set_are_taken_whole(toy_recipe: Path) -> None:
    parts = dataset_parts.select(arm(toy_recipe), images(train=40, validation=6, test=8), seed=0)
    assert {name: (part.split, part.indices.tolist()) for name, part in parts.items()} == {
        name: (name, list(range(count))) for name, count in (("train", 40), ("validation", 6), ("test", 8))
    }


def test_fractions_make_all_three_parts_of_the_training_images(toy_recipe: Path) -> None:
    parts = dataset_parts.select(arm(toy_recipe, "data.split.fractions=[0.5, 0.25, 0.25]"), images(train=40), seed=0)
    assert {name: (part.split, len(part.indices)) for name, part in parts.items()} == {
        "train": ("train", 20), "validation": ("train", 10), "test": ("train", 10),
    }  # fmt: skip


def test_counts_are_of_the_images_that_were_selected(toy_recipe: Path) -> None:
    mine, given = arm(toy_recipe), images(train=40, test=8)
    parts = {
        "train": dataset_parts.Selected("train", np.array([0, 1, 2])),
        "test": dataset_parts.Selected("test", np.array([0, 2])),
    }
    facts = dataset_facts.count(mine, given, parts, also={"other": 5}, found=FOUND)
    assert (facts.images.train, facts.images.validation, facts.images.test, facts.images.also) == (3, 0, 2, {"other": 5})
    assert facts.per_class == (2, 1)
    assert facts.warnings == ("test: there is no image of b; metrics of these classes are not defined",)


def test_preparing_a_run_chooses_its_images_once(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    select = dataset_parts.select

    def counted(resolved: Resolved, given: Images, *, seed: int, fold: None) -> dict[str, dataset_parts.Selected]:
        seeds.append(seed)
        return select(resolved, given, seed=seed, fold=fold)

    for module in (dataset_parts, dataset_facts, decoding):
        monkeypatch.setattr(module, "select", counted)
    assert training(toy_recipe, seed=7).plan.images.train > 0
    assert seeds == [7]

"""What a recipe says in one line of all stages trains as the recipe that says it of each, bit for bit, and is the same run."""

from pathlib import Path

import pytest
import torch
from toy_training import Training, training

from tlkit.errors import RecipeError
from tlkit.plans import resolve
from tlkit.sources.places import Places

ONE_LINE = [
    "schedule={name='cosine', epochs=4}",
    "freeze={backbone={gradual=1}, stem=true}",
    "lr_groups={backbone={lr=1e-2, decay=0.5}, head=1e-2}",
]
BY_HAND = [
    "schedule={name='cosine', epochs=4}",
    "freeze={stem=true, block1={epochs=2}, block2={epochs=1}}",
    "lr_groups={block1=5e-3, block2=1e-2, head=1e-2}",
]


def _trained(made: Training) -> Training:
    assert len(list(made.fit.epochs())) > 0
    return made


def _assert_same(made: Training, other: Training) -> None:
    ours, theirs = made.fit.tensors(), other.fit.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_expanded_arm_is_the_one_written_by_hand(toy_recipe: Path) -> None:
    _, short = resolve.load(toy_recipe, ONE_LINE, Places())
    _, long = resolve.load(toy_recipe, BY_HAND, Places())
    assert short["main"].arm == long["main"].arm


def test_gradual_and_decay_train_as_written_by_hand_and_go_on_exactly_between_phases(toy_recipe: Path) -> None:
    whole = _trained(training(toy_recipe, *BY_HAND))
    assert [phase.first for phase in whole.plan.phases] == [1, 2, 3]
    begun = training(toy_recipe, *ONE_LINE)
    epochs = begun.fit.epochs()
    next(epochs), next(epochs)  # the third begins a phase
    tensors = {name: tensor.clone() for name, tensor in begun.fit.tensors().items()}
    continued = training(toy_recipe, *ONE_LINE)
    continued.fit.resume_(tensors, begun.fit.scalars())
    _assert_same(_trained(continued), whole)


# progressive sizes

SIZES = "data.image_sizes=[{epochs=2, size=12}, {epochs=2, size=16}]"
STEADY = ["schedule={name='constant', epochs=4}", "freeze.stem=true", "data={name='synthetic', batch_size=16}"]


ADAPTED = (
    "freeze.backbone=true", 'also.dark={name="synthetic", options={classes=4, train=60, test=20, size=16, noise=0.9}, split={per_class=3}}',
    'adapt={target="dark", method="mcc", labels_per_class=1, ramp=false}',
)  # fmt: skip


def _by_hand(recipe: Path, *more: str) -> Training:
    """Train on small images and go on with larger ones, as two recipes one after the other."""
    first = _trained(training(recipe, *STEADY, "data.image_size=12", "schedule.epochs=2", *more))
    second = training(recipe, *STEADY, "data.image_size=16", "schedule.epochs=2", "data.initial_epoch=2", *more)
    with torch.no_grad():
        theirs = second.network.tensors()
        for name, tensor in first.network.tensors().items():
            theirs[name].copy_(tensor)
    second.fit.continue_optimizer_(first.fit.optimizer_state())
    return _trained(second)


@pytest.mark.parametrize(
    "more",
    [("freeze.backbone=true",), ("data.augment=['random_crop', 'hflip']", "data.augment_views=2"), ADAPTED],
    ids=["stored", "views", "adapted"],
)
def test_image_sizes_train_as_one_recipe_after_the_other(toy_recipe: Path, more: tuple[str, ...]) -> None:
    whole = training(toy_recipe, *STEADY, SIZES, *more)
    plan = whole.plan
    assert [(phase.first, phase.last, phase.image_size) for phase in plan.phases] == [(1, 2, (12, 12)), (3, 4, None)]
    assert plan.image_size == (16, 16)
    assert all(phase.fixed is not None and (phase.fixed.train is not None or len(more) > 1) for phase in plan.phases)
    epochs = whole.fit.epochs()
    next(epochs), next(epochs)  # the third has images of another size
    tensors = {name: tensor.clone() for name, tensor in whole.fit.tensors().items()}
    continued = training(toy_recipe, *STEADY, SIZES, *more)
    continued.fit.resume_(tensors, whole.fit.scalars())
    by_hand = _by_hand(toy_recipe, *more).fit.tensors()
    for each in (whole, continued):
        list(epochs if each is whole else each.fit.epochs())
        mine = each.fit.tensors()
        assert all(torch.equal(mine[name], tensor) for name, tensor in by_hand.items())


def test_size_and_freeze_begin_phases_of_their_own(toy_recipe: Path) -> None:
    made = training(
        toy_recipe,
        "schedule={name='constant', epochs=4}",
        "data={name='synthetic', batch_size=16}",
        SIZES,
        "freeze.stem={epochs=1}",
    )
    assert [(phase.first, len(phase.prefix), phase.image_size) for phase in made.plan.phases] == [
        (1, 1, (12, 12)), (2, 0, (12, 12)), (3, 0, None),
    ]  # fmt: skip


def test_held_out_images_have_the_last_size_in_every_epoch(toy_recipe: Path) -> None:
    made = training(toy_recipe, *STEADY, SIZES)
    assert {part.pictures.geometry.size for part in made.prepared.evaluated.parts.values()} == {(16, 16)}
    assert {size: part.pictures.geometry.size for size, part in made.prepared.train.others.items()} == {(12, 12): (12, 12)}


def test_arm_that_names_sizes_takes_the_place_of_the_one_size(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + f"\n[arms.one]\n[arms.two]\n{SIZES}\nschedule.epochs = 4\n")
    _, arms = resolve.load(toy_recipe, [], Places())
    assert (arms["one"].image_size, arms["two"].image_size) == ((16, 16), (16, 16))
    assert arms["one"].arm.data.image_sizes is None
    assert arms["two"].arm.data.image_size is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((), "data.image_sizes: has sizes for 4 epochs, and schedule.epochs is 2"),
        (("schedule.epochs=4", "backbone.name=resnet18"), "data.image_sizes: size 12; resnet18 needs at least 32 pixels"),
        (("schedule.epochs=4", "data.image_sizes=[{epochs=2, size=9}, {epochs=2, size=[6, 16]}]"), "greater than or equal to 8"),
        (("schedule.epochs=4", "data={image_size=16, image_sizes=[{epochs=4, size=16}]}"), "image_size and image_sizes are both given"),
        (("data.image_sizes=[]",), "data.image_sizes: is [], but should hold at least 1"),
        (("data.image_sizes=[{epochs=0, size=16}]",), "epochs"),
        (("schedule.epochs=4", "head.pooled=false"), "the head reads every value of the feature map"),
        (("schedule.epochs=4", "head.kind=svm"), "nothing is trained by epochs here"),
        (("schedule.epochs=4", "backbone.name=toy_tapped", "data.image_sizes=[{epochs=2, size=9}, {epochs=2, size=16}]"), "images of at least 12"),
    ],
)  # fmt: skip
def test_wrong_sizes_are_a_message(toy_recipe: Path, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve.load(toy_recipe, ["data={name='synthetic'}", SIZES, *settings], Places())
    assert words in str(caught.value)

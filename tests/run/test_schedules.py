"""What a recipe says in one line of all stages trains as the recipe that says it of each, bit for bit, and is the same run."""

from pathlib import Path

import torch
from toy_training import Training, training

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

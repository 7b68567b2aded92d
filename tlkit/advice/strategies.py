"""Choose what to train by the number of images and their likeness to ImageNet. Imports no torch.

The rule: fewer images, fewer trained layers; less similar images, training begins earlier in the network.

Sources: for few and for some similar images, what was measured (see FEW). The other cases were not measured here: they rest on Yosinski
et al. 2014, arXiv:1411.1792, whose features go from general to specific with depth, and are a better start than random ones even from
a distant task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Likeness = Literal["similar", "dissimilar"]
Amount = Literal["few", "some", "many"]

# Training images of the smallest class. The smallest counts, and not the mean: a recipe that asks too little of the large classes
# costs them a little, one that asks too much of a small class learns its few images by heart.
#
# Below FEW nothing of the network is trained. Measured on a JPEG copy of CIFAR-10 with 25, 50 and 100 images a class: solved 52.8, 56.5
# and 59.8 %, last stages 42.7, 51.4 and 61.7 %, everything 43.5, 50.6 and 58.0 % (efficientnet_lite0, 64 px, recipes as written here,
# one seed, 1,000 test images: one standard error is about 1.6 points).
FEW = 100
# From MANY on everything is trained. A judgement: at 100 it was still worse than the last stages; ImageNet has about 1,000 a class.
MANY = 500
# From SCRATCH on a recipe with arms has one with random weights, because it may pass the new last layer. Test accuracy of scratch
# against the last layer alone:
#   20 images a class: 55.9 against 93.8 % (chance is 50; recipes/ants_bees.toml, three seeds);
#   180: 79.3 against 83.8 % after 3 epochs each, 82.9 after a fourth (recipes/quickstart.toml, simple grey pictures);
#   1,000: 57.9 after 12 epochs and rising, against 61.6 % (CIFAR-10 at 64 px, efficientnet_lite0, one seed);
#   5,000: about 81 against about 74 % (a lecture's figures; recipes/inception_three_arms.toml).
# So they meet somewhere from 180 to 5,000; of easy images earlier. 500 is a judgement between the two.
SCRATCH = 500
SCRATCH_EPOCHS = 3  # times those of the other arms: at 1,000 a class 12 epochs were too few where fine-tuning took 4

# Peak rates, for AdamW. A new head begins at random and moves fast; each step back in the network is slower by about 3 (2.6 in
# Howard & Ruder 2018, arXiv:1801.06146, section 3.2).
HEAD_RATE, LATE_RATE, MIDDLE_RATE, EARLY_RATE = 1e-3, 3e-4, 1e-4, 3e-5


@dataclass(frozen=True)
class Strategy:
    """What a recipe trains, and why.

    Attributes:
        amount: What the images of the smallest class come to.
        likeness: As the user says it.
        question: That the recipe answers.
        why: A sentence or two for its comments.
        solved: The head is solved on embeddings, and nothing is trained.
        embed: The stage that the head reads; "" for the last.
        freeze: Key of [freeze] -> its value.
        rates: Key of [lr_groups] -> peak rate.
    """

    amount: Amount
    likeness: Likeness
    question: str
    why: str
    solved: bool = False
    embed: str = ""
    freeze: Mapping[str, bool] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


def amount(least: int) -> Amount:
    """Return "few", "some" or "many" for the number of training images in the smallest class."""
    return "few" if least < FEW else "some" if least < MANY else "many"


def choose(least: int, likeness: Likeness, stages: Sequence[str]) -> Strategy:
    """Choose a strategy.

    Args:
        least: Training images of the smallest class.
        likeness: Whether the images are like those that the network was trained on.
        stages: Of the network, input to output; two at least.
    """
    case = {"few": _solved, "some": _part, "many": _everything}[amount(least)]
    return case(likeness, *thirds(stages))


def thirds(stages: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Divide the stages into early, middle and late ones; a remainder is early, and the middle may be empty."""
    third = max(len(stages) // 3, 1)
    middle, late = max(len(stages) - 2 * third, 1), len(stages) - third
    return tuple(stages[:middle]), tuple(stages[middle:late]), tuple(stages[late:])


def rates_of_many(likeness: Likeness, stages: Sequence[str]) -> dict[str, float]:
    """Return the rates with which everything trains where there are many images; all are those of AdamW.

    Args:
        likeness: Of the images.
        stages: Of the network, input to output.
    """
    if likeness == "dissimilar":
        return {"backbone": HEAD_RATE, "head": HEAD_RATE}
    _, middle, late = thirds(stages)
    steps = dict.fromkeys(middle, MIDDLE_RATE) | dict.fromkeys(late, LATE_RATE)
    return {"backbone": EARLY_RATE, **steps, "head": HEAD_RATE}


def _solved(likeness: Likeness, early: tuple[str, ...], middle: tuple[str, ...], late: tuple[str, ...]) -> Strategy:
    by_heart = "A network that is trained on so few learns them by heart"
    measured = (
        " On CIFAR-10 with 25 and 50 images a class this reached 52.8 and 56.5 % of test images, and training the last stages 42.7 and "
        "51.4 %; with 100 images the last stages were ahead."
    )
    solve = "and a linear support vector machine is solved on the embeddings."
    if likeness == "similar":
        question = "What do a trained network's features tell of these images?"
        why = f"{by_heart}, and what its last stage says of such pictures serves as it is. So every image is embedded once, {solve}{measured}"
        return Strategy("few", likeness, question, why, solved=True)
    question = "What do a trained network's earlier features tell of these images?"
    embed = (*early, *middle)[-1]
    why = (
        f"{by_heart}, and its last stages ({', '.join(late)}) are made for other pictures. So the head reads the stage before them, "
        f"which is more general: every image is embedded there once, {solve} That was not measured on unlike pictures: compare it."
    )
    return Strategy("few", likeness, question, why, solved=True, embed=embed)


def _part(likeness: Likeness, early: tuple[str, ...], middle: tuple[str, ...], late: tuple[str, ...]) -> Strategy:
    enough, slower = "That is enough to train a part of the network.", "at about a third of the new head's rate."
    if likeness == "similar":
        question, trained = "How well do a trained network's last stages learn to tell these images apart?", late
        why = (
            f"{enough} Its last stages know most of the classes that it was made for: they learn these, {slower} The stages before "
            "them fit such pictures as they are, and stay."
        )
    else:
        question, trained = (
            "How well does a trained network tell these images apart that keeps its first stages only?",
            middle + late,
        )
        why = (
            f"{enough} What its first stages know is general, and they stay. The others are made for other pictures: they learn "
            f"these, {slower}"
        )
    freeze = {"backbone": True, **dict.fromkeys(trained, False)}
    return Strategy("some", likeness, question, why, freeze=freeze, rates={"backbone": LATE_RATE, "head": HEAD_RATE})


def _everything(likeness: Likeness, early: tuple[str, ...], middle: tuple[str, ...], late: tuple[str, ...]) -> Strategy:
    enough = "That is enough to train all of it, from the trained weights."
    rates = rates_of_many(likeness, (*early, *middle, *late))
    if likeness == "similar":
        question = "How well does a trained network tell these images apart whose later stages move the faster?"
        why = f"{enough} The earlier a stage, the better it fits such pictures as it is, and the slower it moves."
        return Strategy("many", likeness, question, why, rates=rates)
    question = "How well does a network tell these images apart that begins at trained weights and may leave them?"
    why = (
        f"{enough} Other pictures need other features, in the early stages too, so all of it moves at one rate; even the features "
        "of other pictures are a better start than random ones."
    )
    return Strategy("many", likeness, question, why, rates=rates)

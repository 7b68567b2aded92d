"""The lectures' experiments as data: what they say that they show, their settings and their figures.

The rule: only what a lecture says stands here, and figures of ours that have no data in docs/measurements. A setting of ours is read from the
recipe's file. tests/docs/test_lectures.py holds every figure against the recipe's head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One row of an experiment's figures.

    Attributes:
        what: The way of training, in words.
        arm: Of the recipe; "" where no arm is needed.
        lecture: The lecture's figure; "" where it has none.
        measured: Ours, as the recipe's head has it, where docs/measurements has no run of the arm; "" where there is none yet.
    """

    what: str
    arm: str
    lecture: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Experiment:
    """One experiment of a lecture.

    Attributes:
        title: Of its section.
        recipe: Name of the recipe's file, without its suffix.
        shows: What the lecture says that it shows.
        unit: Of the figures.
        said: The lecture's settings: a row of `SETTINGS` -> its words. A row that is missing is not said.
        figures: The lecture's and ours.
        gpu: What is not measured yet needs a GPU.
        curves: Arms whose curves are drawn on common axes; all where none is named.
    """

    title: str
    recipe: str
    shows: str
    unit: str = "test accuracy in %"
    said: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    gpu: bool = False
    curves: tuple[str, ...] = ()


_WHOLE_CIFAR = {"augmentation": "none", "training images": "all 50,000", "optimizer": "Adam, one rate for all arms"}
_RESNET = {
    **_WHOLE_CIFAR, "network": "ResNet-18", "input": "224 px, the whole picture", "batch": "128", "schedule": "constant",
    "epochs": "10",
}  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "Three ways to train Inception v3",
        "inception_three_arms",
        "Pretrained weights with everything trained are better than training from scratch, and training from scratch is better than "
        "training the last layer alone.",
        said={
            **_WHOLE_CIFAR, "network": "Inception v3", "input": "299 px, the whole picture", "batch": "8", "schedule": "constant",
            "epochs": "5",
        },
        figures=(
            Figure("everything, from ImageNet weights", "everything", "75, and 94 by epoch 3"),
            Figure("from scratch", "scratch", "about 81"),
            Figure("last layer alone", "head_only", "about 74, and flat"),
        ),
        gpu=True,
    ),
    Experiment(
        "ResNet-18 from scratch",
        "resnet18_scratch",
        "Without pretrained weights the test accuracy jumps up and down while the training loss falls.",
        said=_RESNET,
        figures=(
            Figure("from scratch, after seven of the epochs", "main", "50, 71, 55, 71, 67, 75, 70"),
            Figure("time of an epoch, and of all ten", "main", "1 minute 51 s, 18 minutes 38 s"),
        ),
        gpu=True,
    ),
    Experiment(
        "Three ways to train ResNet-18",
        "resnet18_three_arms",
        "The lecture announces this comparison and has no figures of it.",
        said={"network": "ResNet-18"},
        figures=(
            Figure("everything, from ImageNet weights", "everything"),
            Figure("from scratch", "scratch"),
            Figure("last layer alone", "head_only"),
        ),
        gpu=True,
    ),
    Experiment(
        "Three ways to train, on a CPU",
        "cifar_three_ways",
        "The question of the first experiment with a network and pictures that two CPU cores can train, and with 500, 2,000 and 10,000 "
        "training images: from how many images on is training from scratch better than the last layer alone? No lecture has this.",
        figures=tuple(
            Figure(f"{words}, {count:,} images", f"{arm}_{count}")
            for arm, words in (("everything", "everything"), ("scratch", "from scratch"), ("head_only", "last layer alone"))
            for count in (500, 2000, 10000)
        ),
        curves=("everything_10000", "scratch_10000", "head_only_10000"),
    ),
    Experiment(
        "Models A to D",
        "cifar4000_resnet18",
        "With 4,000 labels, what is pretrained should move slowly and the new classifier fast. One rate for all is too high for the one or "
        "too low for the other.",
        unit="train / test accuracy in %",
        said={
            "network": "ResNet-18", "training images": "4,000 labelled images", "optimizer": "SGD, momentum 0.9, no Nesterov, weight decay 5e-4",
            "schedule": "constant", "epochs": "100",
        },
        figures=(
            Figure("A, random weights, 1e-1", "A1", "99.98 / 76.34"),
            Figure("B, ImageNet weights, 1e-1", "B1", "99.61 / 66.10"),
            Figure("A, random weights, 1e-4", "A2", "44.97 / 41.89"),
            Figure("B, ImageNet weights, 1e-4", "B2", "92.04 / 87.14"),
            Figure("C, features 1e-4, classifier 1e-1", "C", "99.68 / 88.72"),
            Figure("D, conv1 to conv3 1e-4, conv4 and conv5 1e-3, classifier 1e-1", "D", "99.88 / 89.65"),
        ),
        gpu=True,
    ),
    Experiment(
        "Models A to D, on a CPU",
        "cifar4000_rates",
        "The same question with a smaller network, smaller pictures and 10 epochs. Compare the order, not the values.",
        said={"network": "ResNet-18", "training images": "4,000 labelled images", "epochs": "100", "schedule": "constant"},
        figures=(
            Figure("A, random weights, 1e-1", "A1", "76.34"),
            Figure("B, ImageNet weights, 1e-1", "B1", "66.10"),
            Figure("A, random weights, 1e-4", "A2", "41.89"),
            Figure("B, ImageNet weights, 1e-4", "B2", "87.14"),
            Figure("C, features 1e-4, classifier 1e-1", "C", "88.72"),
            Figure("D, late stages 1e-3 in addition", "D", "89.65"),
        ),
    ),
    Experiment(
        "Ants and bees",
        "ants_bees",
        "With some forty training images, pretrained weights make the difference between little more than chance and a useful classifier.",
        said={"training images": "10 / 10 / 80 % of 398 images, 199 of each class"},
        figures=(
            Figure("chance", "", "50"),
            Figure("base (from scratch)", "scratch", "60.13"),
            Figure("fine-tuned", "finetune", "86.71"),
            Figure("last stage and head", "last_stage"),
            Figure("last layer alone", "head_only"),
        ),
    ),
    Experiment(
        "One percent of Caltech-101",
        "caltech101_one_percent",
        "With one or a few images of each of 102 classes, fine-tuning has about twice the accuracy of training from scratch.",
        said={"training images": "1 / 1 / 98 % of 9,144 images, 102 classes with the background"},
        figures=(
            Figure("chance", "", "1"),
            Figure("base (from scratch)", "base", "19.78"),
            Figure("fine-tuned", "everything", "38.2"),
            Figure("last layer alone", "head_only"),
        ),
    ),
    Experiment(
        "Classifiers on an embedding",
        "pets_embedding",
        "The 4,096 outputs of a network's last hidden layer are an embedding that a support vector machine, trees or another network can "
        "classify: species of birds, breeds of dogs, makes of cars. The lecture has no figures of it.",
        said={"network": "AlexNet or VGG"},
        figures=tuple(
            Figure(f"{words} on {network}", f"{prefix}_{arm}")
            for prefix, network in (("alexnet", "AlexNet"), ("vgg16", "VGG-16"))
            for arm, words in (
                ("svm", "support vector machine"),
                ("decision_tree", "decision tree"),
                ("random_forest", "random forest"),
                ("mlp", "another network"),
            )
        ),
    ),
    Experiment(
        "Chest X-rays",
        "chest_xray",
        "Images that are unlike the source, one output. With many images, train everything, from pretrained weights; with few, freeze the "
        "early layers. The lecture has no figures of it.",
        figures=(
            Figure("everything, all images", "everything"),
            Figure("last stages, all images", "last_stages"),
            Figure("last layer alone, all images", "head_only"),
            Figure("from scratch, all images", "scratch"),
            Figure("everything, 100 images", "everything_100"),
            Figure("last stages, 100 images", "last_stages_100"),
            Figure("last layer alone, 100 images", "head_only_100"),
            Figure("from scratch, 100 images", "scratch_100"),
        ),
        curves=("everything_100", "last_stages_100", "head_only_100", "scratch_100"),
    ),
)  # fmt: skip

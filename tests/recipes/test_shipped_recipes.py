"""The recipes that ship: each is valid, can be planned without weights and images, and learns what its head says."""

import re
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from tlkit import api
from tlkit.plans import dataset_images, dataset_parts, resolve
from tlkit.plans.plan import Plan
from tlkit.recipe.digest import digest_of
from tlkit.sources import data_files
from tlkit.sources.places import Places

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
# Up to 30 arms with the network of another recipe, which is planned in every run of the tests: photo_to_art_finetuned and drive.
ALIKE = {"office31", "photo_to_art", "art_to_photo", "emoji_google_to_twitter", "drive_to_chase", "drive_to_stare"}
# The run that it goes on from is not here.
SETTINGS = {
    "few_paintings": ['backbone.weights="none"', "arms.as_it_is.freeze={}"],
    "drive_to_chase": ['backbone.weights="none"', "arms.as_is.freeze={}", "arms.as_is_unscaled.freeze={}"],
    "drive_to_stare": ['backbone.weights="none"', "arms.as_is.freeze={}", "arms.as_is_unscaled.freeze={}"],
}
CLASSES = {
    "caltech101_one_percent": 102,
    "chest_xray": 2,
    "art_to_photo": 7,
    "emoji_boxes": 9,
    "emoji_google_to_twitter": 9,
    "few_paintings": 7,
    "office31": 31,
    "photos": 7,
    "photo_to_art": 7,
    "photo_to_art_finetuned": 7,
}  # assumed: neither data set says so without its images
# How each arm's digest begins, without the content of data and weights. It changes with what an arm says, and with
# `tlkit.recipe.defaults.VERSION`. If one changes that should not have, every earlier run of that arm is trained again.
DIGESTS = {
    "alexnet_svm": {"main": "0496f2b4a050"},
    "ants_bees": {
        "scratch": "4eea332f990f",
        "finetune": "6acb379ff699",
        "last_stage": "18c1d0baaeed",
        "head_only": "fa6b8b8b7781",
    },
    "caltech101_one_percent": {"base": "b76d67b76944", "everything": "2c9996dfb58d", "head_only": "65e5d6bcbf15"},
    "chest_xray": {
        "scratch": "db1063f2c2fe",
        "everything": "aad935574326",
        "last_stages": "b847d42afedf",
        "head_only": "69dbdeaec9cc",
        "scratch_100": "73bdf2b29272",
        "everything_100": "847d35f28bb7",
        "last_stages_100": "bbaad5af9cf5",
        "head_only_100": "6a405fc827e5",
    },
    "cifar10_resnet18_32px": {"to_94": "0fd1de6ab1b8", "to_96": "39473c986fef"},
    "cifar4000_rates": {
        "A1": "49c1fcc542b7",
        "B1": "e20bb68779aa",
        "A2": "155af87bf093",
        "B2": "262af8cb730c",
        "C": "076960a4b30f",
        "D": "7fbdc5a43f64",
    },
    "cifar4000_resnet18": {
        "A1": "bc4aa9883b92",
        "B1": "73716d2221bb",
        "A2": "4ad55aebb8c9",
        "B2": "d71c6bbd090b",
        "C": "25175925c4eb",
        "D": "518ca3dc4fa1",
    },
    "cifar_three_ways": {
        "everything_500": "b19d55581940",
        "everything_2000": "814ee054e9d6",
        "everything_10000": "017aa9d95aa8",
        "scratch_500": "ea5cd8abbac2",
        "scratch_2000": "53a7d3a08981",
        "scratch_10000": "b27f62ecaee9",
        "head_only_500": "97544f8569af",
        "head_only_2000": "a748ff1b8106",
        "head_only_10000": "a9d936eea41f",
    },
    "densenet121_cifar": {"scratch": "d94c044e8e9d", "finetune": "edf66fcc986f", "head_only": "9d39a2950d50"},
    "inception_cifar": {"scratch": "1a3f23ab706f", "finetune": "1886e0e1f2f3", "head_only": "87a407b10dec"},
    "inception_three_arms": {"scratch": "442ca122a265", "everything": "fd533aba67a0", "head_only": "4bf8138fb825"},
    "pets_embedding": {
        "alexnet_svm": "096bc65c9ef3",
        "alexnet_decision_tree": "e26627de3958",
        "alexnet_random_forest": "655c1989219b",
        "alexnet_mlp": "88e112abb483",
        "vgg16_svm": "9eecac08b31a",
        "vgg16_decision_tree": "9b652b6cf207",
        "vgg16_random_forest": "01d1b30a1905",
        "vgg16_mlp": "53c4b5bab91e",
    },
    "emoji_boxes": {
        "imagenet": "78f6cebfee13",
        "scratch": "5f4999a8b9da",
    },
    "drive": {
        "imagenet": "8686d84ae925",
        "scratch": "d27d1d086e85",
    },
    "drive_to_chase": {
        "as_is": "5e8fc100159e",
        "as_is_unscaled": "f4fd8f6fa0e7",
        "from_source": "5e8fc100159e",
        "imagenet": "5e8fc100159e",
        "scratch": "ef229dc65c9e",
        "frozen": "d501bd2e9b51",
        "from_source_1": "9f97c7310e16",
        "from_source_2": "394824149ef8",
        "from_source_8": "952edec447c6",
        "imagenet_1": "9f97c7310e16",
        "imagenet_2": "394824149ef8",
        "imagenet_8": "952edec447c6",
    },
    "drive_to_stare": {
        "as_is": "a6a50a7e999a",
        "as_is_unscaled": "577556b7f30a",
        "from_source": "a6a50a7e999a",
        "imagenet": "a6a50a7e999a",
        "scratch": "a20eb0ca9c40",
        "frozen": "3d26971c543d",
        "from_source_1": "0745c7a2ae3f",
        "from_source_2": "7e8d6fdaedd7",
        "from_source_8": "ecbfdfbed496",
        "imagenet_1": "0745c7a2ae3f",
        "imagenet_2": "7e8d6fdaedd7",
        "imagenet_8": "ecbfdfbed496",
        "scratch_8": "1d521a724a9b",
    },
    "faces_or_imagenet": {"faces": "e9c5666850d2", "imagenet": "0373c25e8428", "random": "0904c0e16990"},
    "few_paintings": {
        "as_it_is": "0f9ada799910",
        "target_only": "c35d58aa9eb4",
        "target_only_head": "534597fbf6c1",
        "adapted": "0f9ada799910",
        "adapted_head": "932f5fd02004",
    },
    "photo_to_art": {
        "source_only": "cbd30bd15ca8",
        "stats": "674fba922b05",
        "coral": "2c81ef74cf0c",
        "linot": "183dc9a95aa0",
        "subspace": "d7a1ec8682a6",
        "prototypes": "ac7830d3e85b",
        "stats_prototypes": "6f4b3432c037",
        "three_labels": "41545993a4aa",
        "stats_three_labels": "f861d5eec3c1",
        "three_labels_prototypes": "e2d9e7851fe5",
        "three_labels_alone": "c1ffca944ef9",
        "target_trained": "d3bb8d93bfbc",
    },
    "art_to_photo": {
        "source_only": "8c1f8126e63a",
        "stats": "9d86e2b655c8",
        "coral": "db0d1f03a250",
        "linot": "6a8f98a91539",
        "subspace": "985c7c12b902",
        "prototypes": "2066b6835d45",
        "stats_prototypes": "e6ca1fac6c38",
        "three_labels": "beeb1eef2730",
        "three_labels_prototypes": "12c18a480280",
        "three_labels_alone": "c5943ffa3ca0",
        "target_trained": "a27bd70f2b21",
    },
    "emoji_google_to_twitter": {
        "source_only": "0181c58e1349",
        "stats": "b8620ec591d9",
        "coral": "88c07f90ca8d",
        "linot": "e1e1de3ca7b2",
        "subspace": "074e20b882b2",
        "prototypes": "47fcb422742b",
        "stats_prototypes": "b7f61eb1c520",
        "three_labels": "424cf4a7c6d0",
        "three_labels_prototypes": "1fc1f3844a1c",
        "three_labels_alone": "bbef2c8ee056",
        "target_trained": "4ba725d09708",
    },
    "office31": {
        "amazon_dslr_source_only": "b489a91a4544",
        "amazon_dslr_stats": "75977f7272c7",
        "amazon_dslr_coral": "670a18d3806b",
        "amazon_dslr_stats_prototypes": "98ba8b93d810",
        "amazon_dslr_three_labels": "aea6bc698516",
        "amazon_webcam_source_only": "33a6057f7f9f",
        "amazon_webcam_stats": "4af4c2a09763",
        "amazon_webcam_coral": "615497d4fb82",
        "amazon_webcam_stats_prototypes": "88c3e63abb8e",
        "amazon_webcam_three_labels": "4a10ca074208",
        "dslr_amazon_source_only": "83490954758d",
        "dslr_amazon_stats": "4acea2cb81c6",
        "dslr_amazon_coral": "fdd505722da4",
        "dslr_amazon_stats_prototypes": "dcf683f346db",
        "dslr_amazon_three_labels": "ea87a5219d86",
        "dslr_webcam_source_only": "0bbadb8a6a00",
        "dslr_webcam_stats": "e31e9862c6d9",
        "dslr_webcam_coral": "6bd942b5469c",
        "dslr_webcam_stats_prototypes": "de2056e7725f",
        "dslr_webcam_three_labels": "4c529acc5f55",
        "webcam_amazon_source_only": "9e4381b2319f",
        "webcam_amazon_stats": "cd406c757c26",
        "webcam_amazon_coral": "cab2b39b2dac",
        "webcam_amazon_stats_prototypes": "566ca9a1859c",
        "webcam_amazon_three_labels": "720357839a1b",
        "webcam_dslr_source_only": "f80cb8be8e79",
        "webcam_dslr_stats": "e7ab555e51c2",
        "webcam_dslr_coral": "f1fa93a02c82",
        "webcam_dslr_stats_prototypes": "3e5427c8ce87",
        "webcam_dslr_three_labels": "9a8ed9f6c13b",
    },
    "photo_to_art_finetuned": {
        "source_only": "ed638032437a",
        "adabn": "aaf70ad3157a",
        "mcc": "1d1d0ff86d01",
        "mmd": "6f457b0dfa83",
        "dann": "148f65189baa",
        "cdan": "eddaf74b7145",
        "mdd": "3e3613ca1b84",
        "three_labels": "55c139d8b933",
        "mme": "fbbf13a8e803",
        "head_source_only": "0605cf54761d",
        "head_mcc": "b785dd75a438",
    },
    "photos": {"main": "2d44d927564b"},
    "quickstart": {"scratch": "8dd6aa7d4ae5", "head_only": "7263aabb37bd", "finetune": "efed46be918a"},
    "resolution": {
        "head_only": "cfdba4fb9bd4",
        "finetune": "1f3193b2fa3e",
        "adabn": "16999e76ec70",
        "three_labels": "50d890a5fe1f",
    },
    "resnet18_cifar": {"main": "82a2fd7b126c"},
    "resnet18_scratch": {"main": "ca152fbb5540"},
    "resnet18_three_arms": {"scratch": "ca152fbb5540", "everything": "08c07b85e015", "head_only": "134dfae3b1cc"},
}


@cache
def plans(stem: str) -> dict[str, Plan]:
    return api.plan(ROOT / "recipes" / f"{stem}.toml", SETTINGS.get(stem, ()), classes=CLASSES.get(stem))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_how_it_is_run_and_what_came_of_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    comments = " ".join(line.removeprefix("#").strip() for line in lines[: lines.index("format = 1")])
    assert lines[0] == "#:schema ./recipe.schema.json"
    assert f"tlkit plan recipes/{path.name}" in comments
    assert f"tlkit apply recipes/{path.name}" in comments
    assert re.search(r"[Mm]easured", comments)
    assert max(map(len, lines)) <= 140


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_and_uses_all_that_it_says(path: Path) -> None:
    recipe, resolved = resolve.load(path, SETTINGS.get(path.stem, ()), Places(recipe=path.parent))
    assert resolved.keys() == recipe.arms.keys()
    for arm in resolved.values():
        assert arm.unused == ()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_digest_of_every_arm_is_as_it_was(path: Path) -> None:
    _, resolved = resolve.load(path, SETTINGS.get(path.stem, ()), Places(recipe=path.parent))
    assert {name: digest_of(arm.arm, {})[:12] for name, arm in resolved.items()} == DIGESTS[path.stem]


def test_digest_without_the_librarys_dropout_is_the_one_from_before_a_head_had_it(tmp_path: Path) -> None:
    lines = (ROOT / "recipes" / "inception_cifar.toml").read_text().splitlines()
    path = tmp_path / "as_it_was.toml"
    path.write_text("\n".join(line for line in lines if not line.startswith("crop =")))
    settings = ['data.augment=["random_crop", "hflip"]', "head.options.dropout=0.0"]
    _, resolved = resolve.load(path, settings, Places(recipe=path.parent))
    assert digest_of(resolved["head_only"].arm, {})[:12] == "85eeb0ce53c5"


@pytest.mark.parametrize(
    "stem", [pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem in ALIKE else []) for path in RECIPES]
)
def test_recipe_is_planned_without_weights_and_images(stem: str) -> None:
    path = ROOT / "recipes" / f"{stem}.toml"
    recipe, _ = resolve.load(path, SETTINGS.get(stem, ()), Places(recipe=path.parent))
    for arm in recipe.arms:
        if re.search("_([0-9]+0|[128])$", arm) and not arm.endswith("_500"):
            continue  # as an arm beside it, with more or fewer images
        (plan,) = api.plan(path, SETTINGS.get(stem, ()), arm=arm, classes=CLASSES.get(stem)).values()
        assert [line for line in plan.unused if not line.startswith("lr_groups")] == []
        assert plan.learns != "steps" or any(stage.trained for stage in plan.stages)


def test_arms_of_inception_have_its_auxiliary_classifier_where_it_teaches_something() -> None:
    made = plans("inception_cifar")
    assert list(made) == ["scratch", "finetune", "head_only"]
    for name, plan in made.items():
        assert (plan.image_size, plan.batch_size, plan.tables.optimizer.name) == ((299, 299), 8, "adam")
        assert [phase.aux_heads for phase in plan.phases] == [{} if name == "head_only" else {"AuxLogits": 0.4}]


def test_rates_of_4000_labels_are_the_published_ones() -> None:
    made = plans("cifar4000_rates")
    assert list(made) == ["A1", "B1", "A2", "B2", "C", "D"]
    rates = {name: {stage.name: stage.peak_lr for stage in plan.stages} for name, plan in made.items()}
    for name, features, classifier in (
        ("A1", 1e-1, 1e-1),
        ("B1", 1e-1, 1e-1),
        ("A2", 1e-4, 1e-4),
        ("B2", 1e-4, 1e-4),
        ("C", 1e-4, 1e-1),
    ):
        assert {rate for stage, rate in rates[name].items() if stage != "head"} == {(features,)}
        assert rates[name]["head"] == (classifier,)
    assert list(rates["D"].values()) == [(1e-4,)] * 5 + [(1e-3,)] * 4 + [(1e-1,)]
    for name, plan in made.items():
        assert (plan.images.train, plan.images.validation) == (4000, 0)
        assert plan.tables.backbone.weights == ("none" if name in ("A1", "A2") else "imagenet")
        assert (plan.tables.optimizer.momentum, plan.tables.optimizer.weight_decay) == (0.9, 5e-4)


def test_one_percent_of_caltech101_has_a_picture_of_each_class() -> None:
    for plan in plans("caltech101_one_percent").values():
        assert 102 <= plan.images.train <= 204
        assert plan.images.train + plan.images.validation + plan.images.test == 9_144


def test_alexnets_features_are_read_behind_fc7_and_nothing_trains() -> None:
    (plan,) = plans("alexnet_svm").values()
    assert plan.learns == "solved"
    assert [stage.name for stage in plan.stages] == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "head"]
    assert plan.stages[-2].output == (4096,)
    assert sum(stage.trained for stage in plan.stages) == 0


def test_chest_x_rays_are_split_by_patient(tmp_path: Path) -> None:
    for part, name in (("normal", "NORMAL2-IM-{:04d}-{:04d}.jpg"), ("pneumonia", "person{}_virus_{}.jpg")):
        (tmp_path / part).mkdir()
        for patient in range(30):
            for number in range(1 + patient % 4):
                Image.new("L", (64, 64), 10 * number).save(tmp_path / part / name.format(patient, number))
    path, places = ROOT / "recipes" / "chest_xray.toml", Places(recipe=ROOT / "recipes", data=tmp_path)
    for plan in api.plan(path, data=tmp_path).values():
        assert (plan.task, plan.positive, plan.classes, len(plan.class_weights)) == ("binary", 1, 2, 2)
        assert plan.images.source == "counted"
    arm = resolve.load(path, (), places)[1]["everything"]
    found = data_files.find_data("folder", arm.dataset, arm.data_options, places, fetch=False)
    images = dataset_images.images(arm, found)
    chosen = dataset_parts.select(arm, images, seed=0)
    patients = images.splits["train"].groups
    sides = [
        set(patients[chosen["train"].indices]),
        set(patients[chosen["validation"].indices]),
        set(images.splits["test"].groups),
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 60


@pytest.mark.slow
def test_at_a_small_rate_imagenets_weights_are_better_than_random_ones(test_data: Path, tmp_path: Path) -> None:
    """B2 above A2, the one order of the published six that is asserted: shortened, with every image at its own 32 pixels."""
    path = ROOT / "recipes" / "cifar4000_rates.toml"
    settings = [
        "data.image_size=32", "data.split.train=2000", "data.batch_size=10", "schedule.epochs=3", 'precision="float32"',
        'evaluation.test="end"',
    ]  # fmt: skip
    accuracy = {}
    for arm in ("A2", "B2"):
        applied = api.apply(path, settings, arm=arm, data=test_data / "cifar10", runs=tmp_path)
        accuracy[arm] = applied.result["arms"][arm]["test"]["accuracy"]["mean"]
    assert accuracy["B2"] > accuracy["A2"]

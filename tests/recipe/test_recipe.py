"""The recipe as a person writes it: arms, --set, defaults, seeds, and the digest of what it declares."""

import copy
import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import Cli
from pydantic import ValidationError

from tlkit.plans import arm_weights, jobs, resolve
from tlkit.recipe import parsing
from tlkit.recipe.digest import digest_of
from tlkit.recipe.map_tables import Rate, Until
from tlkit.recipe.optimizers import Adam, AdamW, Sgd
from tlkit.recipe.recipe import Arm, Recipe, arm_toml
from tlkit.recipe.schedules import Constant, Cosine, OneCycle, Step
from tlkit.recipe.settings import parse_setting
from tlkit.recipe.tables import SplitTable
from tlkit.sources.places import Places

MINIMAL = """\
format = 1
name = "small"
[backbone]
name = "toy"
weights = "none"
[data]
name = "synthetic"
"""


def build(text: str, *settings: str) -> Recipe:
    tables = tomllib.loads(text)
    return parsing.build(tables, where="r.toml", settings=[parse_setting(setting) for setting in settings])


def only(text: str, *settings: str) -> Arm:
    (arm,) = build(text, *settings).arms.values()
    return arm


def test_recipe_without_arms_has_the_one_arm_main_and_the_seed_0() -> None:
    recipe = build(MINIMAL)
    assert list(recipe.arms) == ["main"]
    assert recipe.seeds == [0]


def test_empty_table_of_arms_is_no_arms() -> None:
    assert list(build(MINIMAL + "[arms]\n").arms) == ["main"]


def test_defaults_are_those_of_the_design() -> None:
    arm = only(MINIMAL)
    assert (arm.head.kind, arm.data.split.validation, arm.optimizer.name, arm.schedule.name) == (
        "linear", 0.1, "adamw", "one_cycle",
    )  # fmt: skip
    assert arm.freeze == {}
    assert arm.early_stopping is None


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('[optimizer]\nname = "sgd"\nmomentum = 0.8\nnesterov = true', Sgd(name="sgd", momentum=0.8, nesterov=True)),
        ('[optimizer]\nname = "adam"\nbetas = [0.8, 0.99]', Adam(name="adam", betas=(0.8, 0.99))),
        ('[optimizer]\nname = "adamw"\naccumulate = 4\nclip_norm = 1', AdamW(name="adamw", accumulate=4, clip_norm=1.0)),
        ("[optimizer]\nweight_decay = 0.3", AdamW(name="adamw", weight_decay=0.3)),
        ('[schedule]\nname = "constant"\nwarmup_epochs = 0.5', Constant(name="constant", warmup_epochs=0.5)),
        ('[schedule]\nname = "step"\nmilestones = [3, 5]', Step(name="step", milestones=[3, 5])),
        ('[schedule]\nname = "cosine"\nepochs = 3', Cosine(name="cosine", epochs=3)),
        ("[schedule]\nepochs = 3", OneCycle(name="one_cycle", epochs=3)),
    ],
)
def test_optimizer_and_schedule_are_read_by_their_name_or_are_the_usual_ones(table: str, expected: object) -> None:
    assert expected in (only(MINIMAL + table).optimizer, only(MINIMAL + table).schedule)


def test_map_values_are_a_scalar_or_a_table() -> None:
    arm = only(
        MINIMAL
        + '[freeze]\nstem = true\nblock1 = { epochs = 3 }\nhead = false\n"block2.0" = true\n'
        + "[lr_groups]\nbackbone = 1\nhead = { lr = 1e-2, weight_decay = 0, momentum = 0.5 }\n"
    )
    assert arm.freeze == {"stem": True, "block1": Until(epochs=3), "head": False, "block2.0": True}
    assert arm.lr_groups == {"backbone": 1.0, "head": Rate(lr=1e-2, weight_decay=0.0, momentum=0.5)}


ARMS = (
    MINIMAL
    + """
[data.split]
validation = 0.2
[freeze]
stem = true
block1 = true
[lr_groups]
backbone = 1e-4
head = 1e-2
[arms.plain]
[arms.scratch]
backbone.weights = "other"
freeze = {}
[arms.rates]
lr_groups = { head = 1.0 }
[arms.few]
data.split.train_per_class = 4
"""
)


def test_an_arm_that_names_a_map_replaces_it_whole() -> None:
    arms = build(ARMS).arms
    assert arms["scratch"].freeze == {}
    assert arms["rates"].lr_groups == {"head": 1.0}
    assert arms["rates"].freeze == arms["plain"].freeze == {"stem": True, "block1": True}


def test_other_tables_of_an_arm_merge_key_by_key() -> None:
    arms = build(ARMS).arms
    assert (arms["scratch"].backbone.name, arms["scratch"].backbone.weights) == ("toy", "other")
    assert (arms["few"].data.split.train_per_class, arms["few"].data.split.validation) == (4, 0.2)
    assert arms["plain"].backbone.weights == "none"


def test_one_arm_does_not_change_another() -> None:
    alone = only(ARMS.partition("[arms.plain]")[0])
    assert build(ARMS).arms["plain"] == alone


def test_arms_may_hold_what_the_recipe_itself_leaves_open() -> None:
    text = 'format = 1\nname = "x"\n[data]\nname = "synthetic"\n[arms.a.backbone]\nname = "toy"\nweights = "none"\n'
    assert build(text).arms["a"].backbone.name == "toy"


def test_set_applies_to_every_arm_after_the_merge() -> None:
    arms = build(ARMS, "backbone.weights=again", "data.batch_size=8").arms
    assert {arm.backbone.weights for arm in arms.values()} == {"again"}
    assert {arm.data.batch_size for arm in arms.values()} == {8}


def test_set_of_one_arm_leaves_the_others() -> None:
    arms = build(ARMS, "arms.few.data.batch_size=8").arms
    assert {name: arm.data.batch_size for name, arm in arms.items()} == {"plain": 32, "scratch": 32, "rates": 32, "few": 8}


def test_set_changes_one_key_of_a_map_and_replaces_a_whole_one() -> None:
    arms = build(ARMS, "freeze.block2=true", "lr_groups={head=0.5}").arms
    assert arms["plain"].freeze == {"stem": True, "block1": True, "block2": True}
    assert arms["scratch"].freeze == {"block2": True}
    assert {tuple(arm.lr_groups.items()) for arm in arms.values()} == {(("head", 0.5),)}


def test_set_empties_a_map() -> None:
    assert {tuple(arm.freeze) for arm in build(ARMS, "freeze={}").arms.values()} == {()}


def test_later_set_wins() -> None:
    assert only(MINIMAL, "data.batch_size=2", "data.batch_size=3").data.batch_size == 3


def test_set_reaches_the_header() -> None:
    recipe = build(ARMS, "seeds=[3, 4]", "name=other")
    assert (recipe.seeds, recipe.name) == ([3, 4], "other")


@pytest.mark.parametrize(
    "more",
    [
        '[freeze]\n"block2.0" = { epochs = 2 }\n[lr_groups]\nhead = { lr = 1 }\n[optimizer]\nname = "adam"\nbetas = [0.5, 0.6]\n',
        "[data.split]\nfractions = [0.3, 0.1, 0.6]\n",
        "[data.split]\ntrain_per_class = 3\n",
        '[backbone.input]\nchannels = "bgr"\n',
        '[head]\nkind = "binary"\npositive = "a"\n[loss]\nclass_weights = { a = 2.0 }\n',
        '[also.art]\nname = "folder"\noptions = { path = "art" }\n',
    ],
)
def test_written_arm_reads_back_as_the_same_arm(more: str) -> None:
    arm = only(MINIMAL + more)
    tables = arm_toml(arm)
    assert json.loads(json.dumps(tables)) == tables
    assert ("validation" in tables["data"]["split"]) is (arm.data.split.fractions is None)
    assert only(tomli_w.dumps({"format": 1, "name": "again", **tables})) == arm


# digest


def arm_of(tables: dict[str, Any]) -> Arm:
    return parsing.build({"format": 1, "name": "x", **tables}, where="r").arms["main"]


TABLES: dict[str, Any] = {
    "backbone": {"name": "toy", "weights": "none", "options": {"a": 1}},
    "head": {"kind": "linear", "options": {"dropout": 0.1}},
    "data": {"name": "synthetic", "options": {"classes": 4}, "split": {"train": 10}, "augment": ["hflip"]},
    "freeze": {"stem": True, "block1": {"epochs": 2}},
    "lr_groups": {"backbone": 1e-3, "head": {"lr": 1e-2, "weight_decay": 0.1}},
    "optimizer": {"name": "sgd", "momentum": 0.5},
    "schedule": {"name": "step", "every": 2, "epochs": 5},
    "loss": {"label_smoothing": 0.1},
    "early_stopping": {"patience": 3},
}


def upside_down(value: object) -> object:
    return {key: upside_down(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def test_digest_is_the_same_for_every_order_of_keys() -> None:
    turned = upside_down(TABLES)
    assert isinstance(turned, dict)
    assert list(turned["freeze"]) == ["block1", "stem"]
    assert digest_of(arm_of(turned), {"data": "1", "w": "2"}) == digest_of(arm_of(TABLES), {"w": "2", "data": "1"})


def test_digest_of_a_default_is_the_same_whether_it_is_written_or_not() -> None:
    written = copy.deepcopy(TABLES)
    written["data"]["split"]["validation"] = 0.1
    written["optimizer"]["nesterov"] = False
    assert digest_of(arm_of(written), {}) == digest_of(arm_of(TABLES), {})


CHANGES: list[tuple[str, object]] = [
    ("backbone.name", "other"), ("backbone.weights", "w.pth"), ("backbone.options.a", 2), ("head.kind", "mlp"),
    ("head.options.dropout", 0.2), ("data.name", "other"), ("data.options.classes", 5), ("data.split.train", 11),
    ("data.split.validation", 0.2), ("data.augment", []), ("data.image_size", 32), ("data.batch_size", 7), ("data.crop", 0.9),
    ("data.on_corrupt", "skip"), ("freeze.stem", False), ("freeze.block1.epochs", 3), ("lr_groups.backbone", 2e-3),
    ("lr_groups.head.lr", 2e-2), ("lr_groups.head.weight_decay", 0.2), ("optimizer.momentum", 0.6), ("optimizer.nesterov", True),
    ("optimizer.weight_decay", 0.1), ("optimizer.accumulate", 2), ("optimizer.clip_norm", 1.0), ("schedule.every", 1),
    ("schedule.epochs", 6), ("schedule.gamma", 0.2), ("schedule.warmup_epochs", 1), ("loss.label_smoothing", 0.2),
    ("early_stopping.patience", 4),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CHANGES, ids=[key for key, _ in CHANGES])
def test_digest_changes_with_every_value(key: str, value: object) -> None:
    changed = copy.deepcopy(TABLES)
    *parents, last = key.split(".")
    table = changed
    for part in parents:
        table = table[part]
    table[last] = value
    assert digest_of(arm_of(changed), {}) != digest_of(arm_of(TABLES), {})


def test_digest_changes_with_the_content_of_data_and_weights() -> None:
    arm = arm_of(TABLES)
    digests = {digest_of(arm, content) for content in ({"data": "1"}, {"data": "2"}, {"data": "1", "weights": "3"})}
    assert len(digests) == 3


def test_digest_leaves_out_where_data_and_weights_lie() -> None:
    here, there = copy.deepcopy(TABLES), copy.deepcopy(TABLES)
    here["data"]["options"]["path"], there["data"]["options"]["path"] = "here", "there"
    here["backbone"]["weights"], there["backbone"]["weights"] = "here.pth", "run:there"
    content = {"data": "1", "weights": "2"}
    assert digest_of(arm_of(here), content) == digest_of(arm_of(there), content)


# with plugins


def plan_jobs(path: Path, *settings: str) -> tuple[jobs.Job, ...]:
    places = Places(recipe=path.parent)
    recipe, arms = resolve.load(path, settings, places)
    return jobs.plan_jobs(recipe, arms, places, runs=Path("runs"), where=str(path))


def test_digest_is_without_name_seeds_and_arm(toy_recipe: Path) -> None:
    digests = {
        job.digest
        for settings in (["name=other"], ["seeds=[1, 2]"], [])
        for job in plan_jobs(toy_recipe, *settings)
    }  # fmt: skip
    toy_recipe.write_text(toy_recipe.read_text() + "[arms.a]\n[arms.b]\nfreeze = {}\n")
    digests |= {job.digest for job in plan_jobs(toy_recipe)}
    assert len(digests) == 1


def test_every_arm_and_seed_is_a_run_of_its_own(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "[arms.a]\n[arms.b.schedule]\nepochs = 1\n")
    made = plan_jobs(toy_recipe, "seeds=[0, 5]")
    assert [(job.resolved.name, job.seed) for job in made] == [("a", 0), ("a", 5), ("b", 0), ("b", 5)]
    assert len({job.folder for job in made}) == 4
    assert {job.folder.parent for job in made} == {Path("runs/toy")}
    assert made[0].digest == made[1].digest != made[2].digest


def test_plugin_defaults_are_part_of_the_digest(toy_recipe: Path) -> None:
    (bare,) = plan_jobs(toy_recipe)
    (written,) = plan_jobs(toy_recipe, "data.options.noise=0.25", "head.options.dropout=0.0")
    (other,) = plan_jobs(toy_recipe, "data.options.noise=0.5")
    assert bare.digest == written.digest != other.digest


def test_a_version_of_each_data_set_is_part_of_the_digest(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + '[also.far]\nname = "synthetic"\noptions = { noise = 0.9 }\n')
    places = Places(recipe=toy_recipe.parent)
    recipe, arms = resolve.load(toy_recipe, [], places)
    first, far = arms["main"], arms["main"].also["far"]
    second = replace(first.dataset, version="2")
    versions = [first, replace(first, dataset=second), replace(first, also={"far": replace(far, dataset=second)})]
    versions.append(replace(first, dataset=replace(second, version=lambda options, folds: "2" if folds else "")))
    found = [jobs.plan_jobs(recipe, {"main": each}, places, runs=Path("runs"), where="")[0].digest for each in versions]
    assert found == [found[0], *found[1:3], found[0]]
    assert len(set(found)) == 3


def test_weights_count_by_content_and_by_how_pixels_must_reach_them(toy_recipe: Path, tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one.pth", "same.pth", "other.pth"))
    one.write_bytes(b"1")
    same.write_bytes(b"1")
    other.write_bytes(b"2")
    digests = [plan_jobs(toy_recipe, f"backbone.weights={path}")[0].digest for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert plan_jobs(toy_recipe, f"backbone.weights={one}", "data.crop=0.5")[0].digest != digests[0]


def test_the_name_of_weights_and_their_file_are_two_runs_where_they_prepare_pixels_differently(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """resnet50's second weights have a crop of 224/232; their file, named as a file, has the backbone's 224/256."""
    import hashlib

    import tlkit_resnet
    from tlkit.plugin import Download

    content = b"not a network, but a file"
    weights = tlkit_resnet.resnet50.weights["imagenet1k-v2"]
    assert isinstance(weights.source, Download)
    source = Download(weights.source.url, f"sha256:{hashlib.sha256(content).hexdigest()}", weights.source.filename)
    monkeypatch.setitem(tlkit_resnet.resnet50.weights, "imagenet1k-v2", type(weights)(source=source, input=weights.input))
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path))
    (tmp_path / source.filename).write_bytes(content)
    backbone = ["backbone.name=resnet50", "data.image_size=32"]
    (named,) = plan_jobs(toy_recipe, *backbone, "backbone.weights=imagenet1k-v2")
    (file,) = plan_jobs(toy_recipe, *backbone, f"backbone.weights={source.filename}")
    assert named.weights == file.weights
    assert named.resolved.convention != file.resolved.convention
    assert named.digest != file.digest


def test_paths_of_a_recipe_begin_at_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "images" / "cat", elsewhere / "images" / "cat"):
        folder.mkdir(parents=True)
    (home / "w.pth").write_bytes(b"1")
    monkeypatch.chdir(elsewhere)
    recipe = home / "r.toml"
    recipe.write_text(
        MINIMAL.replace("synthetic", "folder") + '[data.options]\npath = "images"\n[lr_groups]\nhead = 1\nbackbone = 1\n'
    )
    places = Places(recipe=recipe.parent)
    from tlkit.sources import data_files, weight_files

    (arm,) = resolve.load(recipe, ["backbone.weights=w.pth"], places)[1].values()
    assert data_files._asked(arm.data_options, places) == home / "images"
    found = weight_files.find_weights("w.pth", "toy", arm.backbone, places, fetch=False, run=arm_weights.weights_of_run)
    assert found == home / "w.pth"


def test_reading_a_recipe_again_gives_an_equal_one(toy_recipe: Path) -> None:
    assert parsing.read(toy_recipe) == parsing.read(Path(os.path.relpath(toy_recipe)))


def test_a_folder_is_no_recipe(tmp_path: Path, run: Cli) -> None:
    code, _, text = run("validate", tmp_path)
    assert code == 1
    assert f"{tmp_path}: is a folder, not a recipe." in text
    assert f"tlkit init {tmp_path}" in text


def test_fractions_are_read_again_from_json_that_names_every_key() -> None:
    """As plan.json does: without it a run of such a recipe has no report."""
    table = SplitTable.model_validate({"fractions": [0.3, 0.1, 0.6]})
    assert SplitTable.model_validate_json(table.model_dump_json()) == table
    for key, value in (("train", 10), ("train_per_class", 5), ("validation", 0.2)):
        with pytest.raises(ValidationError, match="already gives all three sets"):
            SplitTable.model_validate({"fractions": [0.3, 0.1, 0.6], key: value})

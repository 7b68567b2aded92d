"""The frozen defaults are those of the models, and a run's digest covers only what differs from them."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import tlkit_toy
from pydantic import BaseModel, Field, TypeAdapter

from tlkit.plans import resolve
from tlkit.plugin import Adapter, Backbone, Dataset, Head, Options, registry
from tlkit.recipe import (
    augmentations,
    defaults,
    domains,
    losses,
    map_tables,
    optimizers,
    parsing,
    recipe,
    schedules,
    tables,
    unlabelled,
)
from tlkit.recipe.defaults import Defaults
from tlkit.recipe.digest import digest_of
from tlkit.recipe.recipe import Arm
from tlkit.recipe.settings import parse_setting
from tlkit.recipe.table import names
from tlkit.sources.places import Places
from tlkit_csv import CsvOptions

RAISE = "a line was added: write the new checksum here; a line was changed: raise VERSION, and add a checksum for it"
FROZEN = {2: "3006367cf5c1fe8a"}

# A table that is always there, an optional one, and one per optimizer, schedule and augmentation.
TABLES: dict[type[BaseModel], Defaults] = {
    recipe.Arm: defaults.ARM,
    tables.BackboneTable: defaults.BACKBONE,
    tables.InputTable: defaults.INPUT,
    tables.HeadTable: defaults.HEAD,
    tables.DataTable: defaults.DATA,
    tables.SplitTable: defaults.SPLIT,
    tables.SizeForEpochs: defaults.SIZE_FOR_EPOCHS,
    tables.FieldOfView: defaults.FIELD_OF_VIEW,
    domains.AlsoTable: defaults.ALSO,
    domains.AlsoSplit: defaults.ALSO_SPLIT,
    domains.AdaptTable: defaults.ADAPT,
    unlabelled.UnlabelledTable: defaults.UNLABELLED,
    map_tables.Until: defaults.UNTIL,
    map_tables.Gradual: defaults.GRADUAL,
    map_tables.RateRange: defaults.RATE_RANGE,
    map_tables.Rate: defaults.RATE,
    losses.LossTable: defaults.LOSS,
    tables.EarlyStopping: defaults.EARLY_STOPPING,
    **{table: defaults.OPTIMIZERS[name] for name, table in names(optimizers.Optimizer).items()},
    **{table: defaults.SCHEDULES[name] for name, table in names(schedules.Schedule).items()},
    **{table: defaults.AUGMENTATIONS[name] for name, table in names(augmentations.Augmentation).items()},
}
OPTIONS: dict[type, dict[str, Defaults]] = {
    Backbone: dict(defaults.BACKBONE_OPTIONS),
    Dataset: dict(defaults.DATA_OPTIONS),
    Head: dict(defaults.HEAD_OPTIONS),
    Adapter: dict(defaults.ADAPTER_OPTIONS),
}
# Keys that were added with a better default than what there was before them.
BETTER: dict[str, Defaults] = {"mdd": {"reversal": 0.1}}
OURS = {"tlkit", "tlkit-efficientnet-lite"}
FIRST_PARTY = [
    (kind, entry.name)
    for kind in OPTIONS
    for entry in registry.entries(kind)
    if entry.distribution in OURS and entry.name != "timm"  # its members have no options, and take seconds to make
]


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for argument in get_args(annotation):
        yield from models_in(argument)


def defaults_of(model: type[BaseModel]) -> dict[str, object]:
    """A model's defaults as JSON; a table that is always there is {}."""
    found = {}
    for name, field in model.model_fields.items():
        if not field.is_required() and not field.exclude:  # what is left out of a recipe's tables is in no digest
            value = field.get_default(call_default_factory=True, validated_data={})
            found[name] = {} if isinstance(value, BaseModel) else TypeAdapter(Any).dump_python(value, mode="json")
    return found


def test_every_table_of_an_arm_has_frozen_defaults() -> None:
    assert set(models_in(Arm)) == TABLES.keys()


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_default_of_a_key_is_the_frozen_one(model: type[BaseModel]) -> None:
    usual = {optimizers.AdamW: {"name": "adamw"}, schedules.OneCycle: {"name": "one_cycle"}}
    assert defaults_of(model) | usual.get(model, {}) == TABLES[model]


def test_tables_that_an_arm_leaves_out_are_those_of_the_defaults() -> None:
    arm = Arm.model_validate({"backbone": {"name": "toy", "weights": "none"}, "data": {"name": "synthetic"}})
    assert (arm.optimizer.name, arm.schedule.name) == ("adamw", "one_cycle")
    assert defaults.differences(arm.model_dump(mode="json")) == {
        "backbone": {"name": "toy", "weights": "none"},
        "data": {"name": "synthetic"},
    }


@pytest.mark.parametrize(("kind", "name"), FIRST_PARTY, ids=[f"{kind.__name__}-{name}" for kind, name in FIRST_PARTY])
def test_default_of_a_first_party_option_is_the_frozen_one(kind: type[Any], name: str) -> None:
    family = registry.family(kind, name)
    plugins = [registry.get(kind, f"{name}:{member}") for member in family.names] if family else [registry.get(kind, name)]
    for plugin in plugins:
        options = defaults_of(plugin.options) if plugin.options is not None else {}
        better = BETTER.get(name, {})
        assert better.items() <= options.items()
        assert options == OPTIONS[kind].get(name, {}) | better


def test_frozen_options_are_of_first_party_plugins() -> None:
    assert {(kind, name) for kind, names in OPTIONS.items() for name in names} <= set(FIRST_PARTY)


def test_a_default_changes_only_with_the_version() -> None:
    frozen = {name: value for name, value in vars(defaults).items() if name.isupper() and name != "VERSION"}
    text = json.dumps(frozen, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == FROZEN[defaults.VERSION], RAISE


# digests

BARE: dict[str, Any] = {"backbone": {"name": "toy", "weights": "none"}, "data": {"name": "synthetic"}}


def digest(settings: str = "") -> str:
    parsed = [parse_setting(each) for each in settings.split("; ") if each]
    made = parsing.build({"format": 1, "name": "x", **copy.deepcopy(BARE)}, where="r", settings=parsed)
    return digest_of(made.arms["main"], {})


def test_digest_is_of_the_version_the_differences_and_the_content() -> None:
    made = parsing.build({"format": 1, "name": "x", **BARE, "schedule": {"epochs": 3}}, where="r").arms["main"]
    arm = '"arm":{"backbone":{"name":"toy"},"data":{"name":"synthetic"},"schedule":{"epochs":3}}'
    content, version = '"content":{"data":"1","weights":"2"}', '"version":2'
    for folds, text in ((None, f"{{{arm},{content},{version}}}"), (5, f'{{{arm},{content},"folds":5,{version}}}')):
        assert digest_of(made, {"weights": "2", "data": "1"}, folds=folds) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("options", "folds", "more"),
    [
        ({"test_file": "t.csv"}, 5, '"divided":"train",'),
        ({"validation_file": "v.csv"}, 5, '"divided":"train",'),
        ({"split": "part", "test_file": "t.csv"}, 5, ""),
        ({"file": "t.csv"}, 5, ""),
        ({"test_file": "t.csv"}, None, ""),
    ],
)
def test_folds_of_a_csv_with_a_table_of_test_images_are_not_those_that_tested_them(
    options: dict[str, str], folds: int | None, more: str
) -> None:
    tables = {**BARE, "data": {"name": "csv", "options": options}}
    made = parsing.build({"format": 1, "name": "x", **tables}, where="r").arms["main"]
    held = json.dumps(options, sort_keys=True, separators=(",", ":"))
    arm = f'"arm":{{"backbone":{{"name":"toy","weights":"none"}},"data":{{"name":"csv","options":{held}}}}}'
    counted = "" if folds is None else f'"folds":{folds},'
    text = f'{{{arm},"content":{{}},{more}{counted}"version":2}}'
    version = registry.get(Dataset, "csv").version_of(CsvOptions(**options), folds=folds is not None)
    versions = {"data": version} if version else {}
    assert digest_of(made, {}, folds=folds, versions=versions) == hashlib.sha256(text.encode()).hexdigest()


SAME = [
    ("", 'precision="auto"'),
    ("", 'head.kind="linear"'),
    ("", "head={}; loss={}; also={}; freeze={}; lr_groups={}; data.split={}; optimizer={}; schedule={}"),
    ("", "data.split.validation=0.1"),
    ("", "head.options.dropout=0"),
    ("", "data.options={classes=10, train=512, noise=0.25}"),
    ("", 'optimizer={name="adamw", betas=[0.9, 0.999], eps=1e-8}'),
    ("", 'schedule={name="one_cycle", epochs=10}'),
    ('optimizer.name="sgd"', 'optimizer={name="sgd", momentum=0.9, nesterov=false}'),
    ('schedule.name="cosine"', 'schedule={name="cosine", epochs=10, final=0, warmup_epochs=0}'),
    ('data.augment=["hflip"]', 'data.augment=[{name="hflip"}]'),
    ('data.augment=["hflip"]', 'data.augment=[{name="hflip", p=0.5}]'),
    ("lr_groups.head=1e-2", "lr_groups.head={lr=0.01}"),
    ('head.kind="mlp"', 'head.kind="mlp"; head.options.widths=[256]'),
    ('also.b.name="folder"', 'also.b={name="folder", options={path="there", test_fraction=0.2}}'),
    ('data={name="folder"}', 'data={name="folder", options={path="there"}}'),
    ('data.unlabelled.name="folder"', 'data.unlabelled={name="folder", options={path="there"}}'),
]  # fmt: skip
OTHER = [
    'precision="float32"', 'head.kind="mlp"', "head.options.dropout=0.5", 'head.kind="conv"', "data.split.validation=0.2",
    "data.options.classes=9", "data.options.noise=0.5", 'optimizer.name="adam"', 'optimizer.name="sgd"', "optimizer.ema=0.9",
    "optimizer.betas=[0.9, 0.99]", 'schedule.name="constant"', 'schedule.name="cosine"', "schedule.epochs=9",
    'data.augment=["hflip"]', 'data.augment=[{name="hflip", p=0.4}]', 'data.augment=["random_crop"]',
    "lr_groups.head=1e-2", "lr_groups.head={lr=0.01, weight_decay=0}", "freeze.stem=false", "freeze.stem=true",
    "freeze.stem={epochs=1}", "early_stopping.patience=1", 'also.b.name="folder"', 'also.c.name="folder"',
    'also.b={name="folder", options={test_fraction=0.3}}', 'backbone.input="torch"', "backbone.input={range=1.0}",
    "backbone.options.a=1", "loss.label_smoothing=0.1", 'loss.class_weights="balanced"', 'loss.class_weights={cat=2.0}',
]  # fmt: skip


@pytest.mark.parametrize(("short", "long"), SAME, ids=[long for _, long in SAME])
def test_default_written_out_leaves_the_digest(short: str, long: str) -> None:
    assert digest(short) == digest(long)


def test_every_difference_has_a_digest_of_its_own() -> None:
    digests = [digest(), *map(digest, OTHER)]
    assert len(set(digests)) == len(digests)


def test_optional_table_that_is_given_differs_from_none() -> None:
    assert digest("backbone.input={}") != digest()
    assert digest("loss.class_weights={}") != digest()


def test_what_differs_in_the_optional_tables_of_an_arm_is_all_that_counts() -> None:
    usual = {"name": "folder", "options": {"path": "here", "test_fraction": 0.2}}
    mirrored = [{"name": "hflip", "p": 0.5}]
    given: dict[str, Any] = {
        "backbone": {**BARE["backbone"], "input": {"range": 1.0}},
        "data": {**BARE["data"], "unlabelled": {**usual, "threshold": 0.95, "weight": 0.5, "second_view": mirrored}},
        "also": {"b": {**usual, "split": {"per_class": 3}}, "c": usual},
        "adapt": {"target": "b", "method": "cdan", "options": {"width": 256, "entropy": False}, "second_view": mirrored},
    }
    arm = Arm.model_validate(given)
    others = {"name": "folder", "options": {"path": "here"}}
    assert defaults.differences(arm.model_dump(mode="json")) == {
        "backbone": {**BARE["backbone"], "input": {"range": 1.0}},
        "data": {**BARE["data"], "unlabelled": {**others, "weight": 0.5, "second_view": [{"name": "hflip"}]}},
        "also": {"b": {**others, "split": {"per_class": 3}}, "c": others},
        "adapt": {"target": "b", "method": "cdan", "options": {"entropy": False}, "second_view": [{"name": "hflip"}]},
    }


def test_name_seeds_and_baseline_of_a_recipe_are_in_no_digest() -> None:
    assert digest("name=other; seeds=[3, 4]; baseline=main") == digest()


def test_new_key_with_a_default_leaves_every_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = Arm.model_validate(BARE).model_dump(mode="json")
    before = defaults.differences(arm)
    arm["loss"]["unheard"] = 0.0
    assert defaults.differences(arm) != before
    monkeypatch.setattr(defaults, "LOSS", {**defaults.LOSS, "unheard": 0.0})
    assert defaults.differences(arm) == before


def test_version_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    monkeypatch.setattr(defaults, "VERSION", 3)
    assert digest() != before


def test_members_of_a_family_have_the_defaults_of_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "BACKBONE_OPTIONS", {"tiny": {"width": 8}})
    for name in ("tiny", "tiny:b0"):
        arm = Arm.model_validate({**BARE, "backbone": {"name": name, "weights": "none", "options": {"width": 8, "depth": 2}}})
        found = defaults.differences(arm.model_dump(mode="json"))
        assert found["backbone"] == {"name": name, "weights": "none", "options": {"depth": 2}}


class _Narrow(Options):
    width: int = Field(default=8)


class _Wide(Options):
    width: int = Field(default=16)


def test_options_of_a_third_party_count_whole(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(options: type[Options], *settings: str) -> dict[str, Any]:
        monkeypatch.setattr(tlkit_toy, "toy", dataclasses.replace(tlkit_toy.toy, options=options))
        _, arms = resolve.load(toy_recipe, settings, Places(recipe=toy_recipe.parent))
        return defaults.differences(arms["main"].arm.model_dump(mode="json"))

    assert told(_Narrow)["backbone"] == {"name": "toy", "weights": "none", "options": {"width": 8}}
    assert told(_Narrow) == told(_Narrow, "backbone.options.width=8")
    assert told(_Wide) == told(_Narrow, "backbone.options.width=16") != told(_Narrow)

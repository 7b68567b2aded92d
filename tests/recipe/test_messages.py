"""What is wrong in a recipe: every problem at once, in words, at the place where the person wrote it."""

import datetime
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, field_validator

from tlkit.errors import RecipeError, TlkitError
from tlkit.plans import resolve
from tlkit.recipe import messages, parsing
from tlkit.recipe.settings import Setting, parse_setting
from tlkit.recipe.table import Table, chosen_by
from tlkit.sources.places import Places

BASE = """\
format = 1
name = "small"
backbone = { name = "toy", weights = "none" }
data = { name = "synthetic" }
lr_groups = { backbone = 1e-2, head = 1e-2 }
"""


def problems(text: str, *settings: str) -> list[str]:
    """What `build` finds, each problem with its hints."""
    with pytest.raises(RecipeError) as caught:
        parsing.build(tomllib.loads(text), where="r.toml", settings=[parse_setting(each) for each in settings])
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def load(path: Path, text: str, *settings: str) -> list[str]:
    """What reading and resolving find together."""
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        resolve.load(path, settings, Places(recipe=path.parent))
    return [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("baseline = 'mian'", ['baseline: there is no arm "mian".', "arms: main", 'did you mean "main"?']),
        ("[dta]", ["dta: there is no such key", "keys: format, name, seeds", 'did you mean "data"?']),
        ("[optimizer]\nname = 'sgd'\nmomentun = 0.9", ["optimizer.momentun: ", "nesterov", 'did you mean "momentum"?']),
        ("[optimizer]\nname = 'sdg'", ['optimizer: there is no optimizer "sdg"', "sgd, adam, adamw", 'did you mean "sgd"?']),
        ("[schedule]\nname = 'cosin'", ['no schedule "cosin"', "constant, step, cosine, one_cycle", 'did you mean "cosine"?']),
        ("[schedule]\nname = 'cosine'\nrise = 0.1", ["schedule.rise: there is no such key", "keys: epochs, warmup_epochs"]),
        ("[schedule]\nname = 'step'", ["schedule: give either every or milestones"]),
        ("[schedule]\nname = 'step'\nevery = 1\nmilestones = [2]", ["schedule: give either every or milestones"]),
        ("[schedule]\nepochs = 0", ["schedule.epochs: is 0, but should be greater than or equal to 1"]),
        ("[schedule]\nepochs = '3'", ['schedule.epochs: is "3", but should be a valid integer']),
        ("[schedule]\nepochs = 3.0", ["schedule.epochs: is 3.0, but should be a valid integer"]),
        ("[optimizer]\nname = 'sgd'\nnesterov = true\nmomentum = 0", ["nesterov = true needs a momentum above 0"]),
        ("[optimizer]\nclip_norm = nan", ["optimizer.clip_norm: is nan, but should be a finite number"]),
        ("[optimizer]\nweight_decay = inf", ["optimizer.weight_decay: is inf, but should be a finite number"]),
        ("[optimizer]\nweight_decay = 1e39", ["optimizer.weight_decay: is 1e+39, but should be less than or equal to 1"]),
        ("[optimizer]\nbetas = [0.9, 1.0]", ["optimizer.betas.1: is 1.0, but should be less than 1"]),
        ("optimizer = 3", ["optimizer: is 3, but should be a table"]),
        ("head = 'linear'", ['head: is "linear", but should be a table']),
        ("[early_stopping]", ["early_stopping.patience: is missing", "epochs"]),
        ("[loss]\nlabel_smoothing = 1.0", ["loss.label_smoothing: is 1.0, but should be less than 1"]),
        ("loss.class_weights = 3", ["loss.class_weights: is 3.", '"balanced", or a table of weights by class name']),
        ("loss.class_weights.cat = -1", ["loss.class_weights.cat: is -1, but should be greater than or equal to 0"]),
        ("[also.'a/b']\nname = 'x'", ['also."a/b": is "a/b".', "letters, digits"]),
        ("[also.ink]\nname = 'x'\npath = 'ink'", ["also.ink.path: there is no such key", 'options = { path = "images" }']),
        ("freeze = true", ["freeze: is true, but should be a table", "{ epochs = N }"]),
        (
            "[freeze]\nstem = 'yes'",
            ['freeze.stem: is "yes"', "true, false, or { epochs = N }; of the backbone also { gradual = N }"],
        ),
        ("[freeze]\nstem = 1", ["freeze.stem: is 1.", "true, false, or { epochs = N }; of the backbone also { gradual = N }"]),
        ("[freeze]\nstem = { epochs = 0 }", ["freeze.stem.epochs: is 0, but should be greater than or equal to 1"]),
        ("[freeze]\nstem = { epoch = 1 }", ["freeze.stem.epoch: there is no such key", 'did you mean "epochs"?']),
        ("[freeze]\nblock1.0 = true", ["freeze.block1.0: there is no such key", 'one quoted key: freeze."block1.0"']),
        ("seeds = []", ["seeds: is [], but should hold at least 1"]),
        ("seeds = [1, 1]", ["seeds: is [1, 1], which has the same seed twice"]),
        ("seeds = [true]", ["seeds.0: is true, but should be a valid integer"]),
        ("seeds = [-1]", ["seeds.0: is -1, but should be greater than or equal to 0"]),
        ("seeds = 1", ["seeds: is 1, but should be a list", "for instance seeds = [1]"]),
        ("arms = 3", ["arms: is 3, but should be a table", "[arms.NAME]"]),
        ("[arms]\na = 3", ["arms.a: is 3, but should be a table"]),
        ("[arms.'a/b']", ['arms."a/b": is not a name for an arm', "it names a folder"]),
        (f"[arms.{'a' * 81}]", ["is not a name for an arm", "at most 80 characters"]),
    ],
)
def test_wrong_table_is_said_in_words(table: str, words: list[str]) -> None:
    found = problems(BASE + table)
    assert [word for word in words if word not in "\n".join(found)] == []
    assert all(problem.startswith("r.toml: ") for problem in found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", ["format: is 2", "reads recipes of format 1"]),
        ("format = 1", "format = true", ["format: is True"]),
        ("format = 1", "format = 1.0", ["format: is 1.0"]),
        ("format = 1", "", ["format: is missing"]),
        ('"small"', '"a/b"', ['name: is "a/b"', "it names a folder"]),
        ('"small"', '"../up"', ['name: is "../up"', "it names a folder"]),
        ('"small"', "3", ["name: is 3, but should be a valid string"]),
        ('"toy", weights = "none"', '"toy"', ["backbone.weights: is missing", '"none"']),
        ('"toy"', '""', ['backbone.name: is "", but']),
        ("head = 1e-2", "head = 0", ["lr_groups.head: the rate is 0", "freeze.head = true"]),
        ("head = 1e-2", "head = 1e39", ["lr_groups.head: is 1e+39, but should be less than or equal to 1"]),
        ("head = 1e-2", "head = { lr = 1e39 }", ["lr_groups.head.lr: is 1e+39, but should be less than or equal to 1"]),
        ('"synthetic"', '"synthetic", crop = 0.01', ["data.crop: is 0.01, but should be greater than or equal to 0.1"]),
        ("head = 1e-2", "head = { lr = 0.0 }", ["lr_groups.head.lr: the rate is 0", "freeze.head = true"]),
        ("head = 1e-2", '"block2.0" = 0', ['lr_groups."block2.0": the rate is 0', 'freeze."block2.0" = true']),
        ("head = 1e-2", "head = -1", ["lr_groups.head: is -1, but should be greater than 0"]),
        ("head = 1e-2", "head = nan", ["lr_groups.head: is nan"]),
        ("head = 1e-2", "head = true", ["lr_groups.head: is true, but should be a valid number"]),
        ("head = 1e-2", "head = { weight_decay = 1 }", ["lr_groups.head.lr: is missing"]),
        ('"synthetic"', '"synthetic", batch_size = 0', ["data.batch_size: is 0, but", "1"]),
        ('"synthetic"', '"synthetic", batch_size = "all"', ['data.batch_size: is "all"', 'images per step, or "auto"']),
        ('"synthetic"', '"synthetic", batch_size = 1.5', ['data.batch_size: is 1.5, but should be a whole number or "auto"']),
        (
            '"synthetic"',
            '"synthetic", image_size = "big"',
            ['data.image_size: is "big", but should be a whole number or [height, width]'],
        ),
        ('"synthetic"', '"synthetic", image_size = [224]', ["data.image_size: is [224], but should be", "[224, 320]"]),
        (
            '"synthetic"',
            '"synthetic", image_size = [224, 4]',
            ["data.image_size.1: is 4, but should be greater than or equal to 8"],
        ),
        ('weights = "none"', 'weights = "none", input = "tf"', ['backbone.input: is "tf"', '"torch", "caffe"', "mean, std"]),
        (
            'weights = "none"',
            'weights = "none", input = { mean = [] }',
            ["backbone.input.mean: is [], but should hold at least 1"],
        ),
        ("head = 1e-2", 'head = "high"', ['lr_groups.head: is "high"', "1e-3, or { lr = 1e-3"]),
        ('"synthetic"', '"synthetic", augment = ["flip"]', ["data.augment.0", '"hflip"', 'did you mean "hflip"?']),
        ('"synthetic"', '"synthetic", on_corrupt = "skp"', ["data.on_corrupt", '"error", "skip"', 'did you mean "skip"?']),
        ('"synthetic"', '"synthetic", split = { train = 1, train_per_class = 1 }', ["data.split: train and train_per_class"]),
        ('"synthetic"', '"synthetic", split = { validation = 1.0 }', ["data.split.validation: is 1.0"]),
    ],
)
def test_wrong_value_is_said_in_words_and_once(old: str, new: str, words: list[str]) -> None:
    assert old in BASE
    (found,) = problems(BASE.replace(old, new, 1))
    assert [word for word in words if word not in found] == []


def test_every_problem_of_the_tables_is_said_at_once() -> None:
    found = problems(
        BASE.replace("format = 1", "format = 9")
        + "sead = [1]\n[optimizer]\nname = 'sdg'\n[schedule]\nepochs = 0\n[loss]\nlabel_smoothing = 2\n"
        + "[arms.a]\ndata.batch_size = 0\n[arms.b]\nfreeze.stem = 2\n[arms.'c d']\n",
        "data.crop=7",
        "arms.z.data.crop=1",
    )
    starts = {problem.removeprefix("r.toml: ").partition(": ")[0] for problem in found}
    assert starts == {
        "format", "sead", "optimizer", "schedule.epochs", "loss.label_smoothing", "arms.a.data.batch_size",
        "arms.b.freeze.stem", 'arms."c d"', "settings data.crop", "settings arms.z.data.crop",
    }  # fmt: skip
    assert len(found) == len(starts)


# where it was written


ARMS = BASE + "[arms.a]\n[arms.b]\n[arms.c]\n"


def test_problem_that_all_arms_inherit_is_said_once_without_an_arm() -> None:
    (found,) = problems(ARMS.replace('"synthetic"', '"synthetic", crop = 7'))
    assert found.startswith("r.toml: data.crop: ")


def test_problem_that_an_arm_wrote_names_the_arm() -> None:
    (found,) = problems(ARMS.replace("[arms.b]", "[arms.b]\ndata.crop = 7"))
    assert found.startswith("r.toml: arms.b.data.crop: ")


def test_table_that_an_arm_began_and_left_incomplete_names_the_arm() -> None:
    (found,) = problems(ARMS.replace("[arms.b]", "[arms.b]\nearly_stopping = {}"))
    assert found.startswith("r.toml: arms.b.early_stopping.patience: is missing")


def test_combination_that_only_an_arm_makes_names_the_arm() -> None:
    text = ARMS.replace('"synthetic"', '"synthetic", split = { train = 4 }')
    (found,) = problems(text.replace("[arms.c]", "[arms.c]\ndata.split.train_per_class = 1"))
    assert found.startswith("r.toml: arms.c.data.split: train and train_per_class are both given")


def test_problem_that_a_set_made_names_the_set_once() -> None:
    (found,) = problems(ARMS, "data.crop=7")
    assert found.startswith("r.toml: settings data.crop: ")


def test_header_key_in_an_arm_is_refused_without_offering_itself() -> None:
    (found,) = problems(ARMS.replace("[arms.b]", "[arms.b]\nseeds = [1]"))
    assert found.startswith("r.toml: arms.b.seeds: there is no such key")
    assert "seeds" not in found.partition("\n")[2]


def test_baseline_that_a_set_names_is_said_with_the_set() -> None:
    (problem,) = problems(BASE + "[arms.a]\n[arms.b]\n", "baseline='c'")
    assert 'baseline: there is no arm "c".' in problem
    assert "settings baseline: " in problem


def test_arm_that_does_not_exist_is_named_with_the_nearest() -> None:
    (found,) = problems(BASE + "[arms.finetune]\n[arms.scratch]\n", "arms.fintune.data.crop=1")
    assert 'there is no arm "fintune"' in found
    assert "arms: finetune, scratch" in found
    assert 'did you mean "finetune"?' in found


@pytest.mark.parametrize(("key", "value"), [("cross_validation.folds", "2"), ("seeds", "[1, 2]")])
def test_set_of_a_header_key_in_an_arm_says_to_set_it_for_all(key: str, value: str) -> None:
    (found,) = problems(ARMS, f"arms.a.{key}={value}")
    assert found.startswith(f"r.toml: settings arms.a.{key}: {key.partition('.')[0]} stands at the head of a recipe")
    assert f"{key}={value}" in found.partition("\n")[2]


def test_folds_beyond_reason_are_refused_before_they_become_runs() -> None:
    (found,) = problems(ARMS, "cross_validation.folds=1000000000")
    assert found.startswith("r.toml: settings cross_validation.folds: is 1000000000, but should be less than or equal to 1000")


# with plugins: names, options, maps


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"toy"', '"toi"', ['backbone.name: there is no backbone "toi"', "installed: ", 'did you mean "toy"?']),
        ('"synthetic"', '"syntetic"', ["data.name: ", 'did you mean "synthetic"?']),
        ('"none"', '"imagenet"', ["backbone.weights", '"imagenet"', "none", "run:PATH"]),
        ('"none"', '"nne"', ['did you mean "none"?']),
        ('"none"', '"~nobody-has-this-name/w.pth"', ["backbone.weights", "there is no such file"]),
        ('"none"', f'"{"w" * 5000}"', ["backbone.weights", "there is no such file"]),
        ('"none"', '"run:nowhere"', ["nowhere"]),
        (", head = 1e-2", "", ["lr_groups: head trains but has no rate.", "lr_groups.head = 1e-3", "freeze.head = true"]),
        ("backbone = 1e-2, ", "stem = 1e-2, block1 = 1.0, ", ["lr_groups: block2 trains but has no rate."]),
        ("head = 1e-2", "haed = 1, head = 1", ['lr_groups.haed: toy has no stage "haed"', 'did you mean "head"?']),
        ("head = 1e-2", "layr1 = 1, head = 1", ['toy has no stage "layr1"', "stages: stem, block1, block2"]),
        ("head = 1e-2", '"blok1.0" = 1, head = 1', ['lr_groups."blok1.0": owns no parameter of toy', 'did you mean "block1"?']),
    ],
)
def test_wrong_name_is_said_with_the_nearest(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in BASE
    (found,) = load(tmp_path / "r.toml", BASE.replace(old, new, 1))
    assert [word for word in words if word not in found] == []


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("[head]\nkind = 'lnear'", ["head.kind: there is no head", 'did you mean "linear"?']),
        ("[head]\noptions.dropuot = 0.1", ["head.options.dropuot: there is no such key", 'did you mean "dropout"?']),
        ("[head]\noptions.dropout = 'a'", ['head.options.dropout: is "a"', "of the pooled features"]),
        ("[head]\nkind = 'mlp'\noptions.widths = [0]", ["head.options.widths.0: is 0"]),
        ("[freeze]\nhead = true\nbackbone = true", ["freeze: nothing trains", "freeze.head = false"]),
        ("[arms.a]\nselect_by = 'aurocc'", ['no metric "aurocc"', "auto, accuracy, loss, balanced_accuracy", 'did you mean "auroc"?']),
        ("[arms.a]\nselect_by = 'exact_match'", ['select_by: the linear head has no metric "exact_match"']),
        (
            "[head]\nkind = 'svm'\n[arms.a]\nselect_by = 'loss'",
            ["select_by: the search for C of the svm head cannot go by loss", "one of: accuracy, ", "or give it: head.options.C"],
        ),
        ("[freeze]\nlayer9 = true", ['freeze.layer9: toy has no stage "layer9"', "stages: stem, block1, block2"]),
        ("[schedule]\nname = 'cosine'\nepochs = 2\nwarmup_epochs = 2", ["schedule.warmup_epochs: is 2.0, but the whole run has 2 epochs"]),
        ("[early_stopping]\npatience = 1\n[arms.a]\ndata.split.validation = 0", ["early_stopping: needs validation images"]),
        (
            "[arms.a]\ndata.image_size = 8\n[arms.b]\nbackbone.name = 'resnet18'\ndata.image_size = 16",
            ["arms.b", "data.image_size: is 16; resnet18 needs at least 32"],
        ),
    ],
)  # fmt: skip
def test_tables_that_do_not_go_together_are_said(tmp_path: Path, tables: str, words: list[str]) -> None:
    (found,) = load(tmp_path / "r.toml", BASE + tables)
    assert [word for word in words if word not in found] == []


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_momentum_of_a_group_needs_sgd(tmp_path: Path, optimizer: str) -> None:
    text = BASE.replace("head = 1e-2", '"block2.0" = { lr = 1, momentum = 0.5 }, head = 1')
    (found,) = load(tmp_path / "r.toml", text + f"[optimizer]\nname = '{optimizer}'\n")
    assert f'lr_groups."block2.0".momentum: {optimizer} has no momentum' in found
    path = tmp_path / "s.toml"
    path.write_text(text + "[optimizer]\nname = 'sgd'\n")
    assert resolve.load(path, (), Places())


def test_problems_of_tables_and_of_names_come_together(tmp_path: Path) -> None:
    text = BASE.replace('"toy", weights = "none"', '"toi", weights = 3').replace("head = 1e-2", "head = 'x', stme = 1")
    text = text.replace('"synthetic"', '"synthetic", options = { clases = 3 }')
    found = load(
        tmp_path / "r.toml",
        text + "foo = 1\n[head]\nkind = 'lin'\n[freeze]\nx = 3\n",
        "data.augment=[1]",
    )
    starts = [problem.partition(": ")[0] for problem in found]
    assert sorted(starts) == sorted(
        ["backbone.weights", "lr_groups.head", "foo", "freeze.x", "settings data.augment.0", "backbone.name", "data.options.clases", "head.kind"]
    )  # fmt: skip


def test_missing_name_does_not_hide_other_names(tmp_path: Path) -> None:
    text = BASE.replace('name = "toy", ', "").replace('{ name = "synthetic" }', '{ name = "synthetik" }')
    starts = [problem.partition(": ")[0] for problem in load(tmp_path / "r.toml", text)]
    assert starts == ["backbone.name", "data.name"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("head = 1e-2", "head = 'x'"), ("head = 1e-2", "head = 0"), ("head = 1e-2", "head = {}"), ("lr_groups = {", "#")],
)
def test_wrong_rate_is_not_also_a_missing_one(tmp_path: Path, old: str, new: str) -> None:
    text = BASE.replace(old, new) + ("lr_groups = 3\n" if new == "#" else "")
    (found,) = load(tmp_path / "r.toml", text)
    assert "has no rate" not in found


def test_wrong_freeze_is_not_also_a_missing_rate(tmp_path: Path) -> None:
    text = BASE.replace("backbone = 1e-2", "block1 = 1, block2 = 1")
    (found,) = load(tmp_path / "r.toml", text + "[freeze]\nstem = 'yes'\n")
    assert 'freeze.stem: is "yes"' in found


def test_problem_of_some_arms_names_them(tmp_path: Path) -> None:
    text = BASE + "[arms.a]\n[arms.b]\nlr_groups = {}\nfreeze.head = true\n[arms.c]\nlr_groups = {}\nfreeze.head = true\n"
    found = load(tmp_path / "r.toml", text)
    assert {problem.partition(": ")[0] for problem in found} == {"arms b, c"}
    assert len(found) == 1  # the backbone as a whole


def test_module_paths_may_share_out_a_stage_between_them(tmp_path: Path) -> None:
    """`validate` knows no parameters, so it must not miss a rate that only the stage as a whole would need."""
    path = tmp_path / "r.toml"
    path.write_text(BASE.replace("backbone = 1e-2", 'stem = 1, block2 = 1, "block1.0" = 1, "block1.1" = 2'))
    assert resolve.load(path, (), Places())
    path.write_text(
        BASE.replace("backbone = 1e-2", "stem = 1, block2 = 1") + '[freeze]\n"block1.0" = true\n"block1.1" = true\n'
    )
    assert resolve.load(path, (), Places())


# the words themselves


class Deep(BaseModel, extra="forbid"):
    """A table inside a plugin's options."""

    depth: int = Field(1, description="how deep")


class Wide(BaseModel, extra="forbid"):
    """Another one."""

    width: int


class Deeper(BaseModel):
    """A table that holds one."""

    deep: Deep = Deep()


class Plugin(BaseModel, extra="forbid"):
    """Options of every kind that pydantic knows."""

    deep: Deep = Deep()
    nested: Deeper = Deeper()
    several: list[Deep] = []
    either: Deep | Wide = Deep()
    mode: Literal["fast", "slow"] = Field("fast", description="how to run")
    only: Literal["one"] = Field("one", description="the only one")
    sizes: list[int] = Field([1], min_length=1, max_length=2, description="sizes, pixels")
    pair: tuple[int, int] = Field((1, 2), description="two numbers")
    shares: dict[str, float] = Field({}, description="shares by class")
    from_: int = Field(alias="from", description="where it begins")
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("is odd")
        return value


DEPTH = ("there is no such key.", "keys: depth", 'did you mean "depth"?')
UNKNOWN = ("there is no such key.", "", "")
KEYS_OF_PLUGIN = "keys: deep, nested, several, either, mode, only, sizes, pair, shares, from, even"
NO_INTEGER = 'is "x", but should be a valid integer, unable to parse string as an integer.'


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, set()),
        ({"from": "x"}, {("from", (NO_INTEGER, "where it begins"))}),
        ({"frm": 1}, {("frm", ("there is no such key.", KEYS_OF_PLUGIN, 'did you mean "from"?'))}),
        ({"deep": 3}, {("deep", ("is 3, but should be a table.", ""))}),
        ({"deep": {"depth": "x"}}, {("deep.depth", (NO_INTEGER, "how deep"))}),
        ({"nested": {"deep": {"depth": "x"}}}, {("nested.deep.depth", (NO_INTEGER, "how deep"))}),
        ({"deep": {"dpth": 1}}, {("deep.dpth", DEPTH)}),
        ({"several": [{}, {"dpth": 1}]}, {("several.1.dpth", DEPTH)}),
        ({"several": [{}, {"depth": "x"}]}, {("several.1.depth", (NO_INTEGER, "how deep"))}),
        (
            {"either": {"a.b": 1}},
            {
                ('either.Deep."a.b"', UNKNOWN),
                ('either.Wide."a.b"', UNKNOWN),
                ("either.Wide.width", ("is missing.", "")),
            },
        ),
        ({"mode": "fsat"}, {("mode", ('is "fsat".', 'one of: "fast", "slow"', 'did you mean "fast"?'))}),
        ({"only": "two"}, {("only", ('is "two".', "the only one"))}),
        ({"sizes": 3}, {("sizes", ("is 3, but should be a list.", "for instance sizes = [3]", "sizes, pixels"))}),
        (
            {"sizes": {"a": 1}},
            {("sizes", ('is {"a": 1}, but should be a list.', "for instance sizes = [{ ... }]", "sizes, pixels"))},
        ),
        ({"sizes": ["x"]}, {("sizes.0", (NO_INTEGER, "sizes, pixels"))}),
        ({"sizes": []}, {("sizes", ("is [], but should hold at least 1.", "sizes, pixels"))}),
        ({"sizes": [1, 2, 3]}, {("sizes", ("is [1, 2, 3], but should hold at most 2.", "sizes, pixels"))}),
        ({"pair": 3}, {("pair", ("is 3, but should be a list.", "two numbers"))}),
        ({"shares": 3}, {("shares", ("is 3, but should be a table.", "shares by class"))}),
        ({"even": 3}, {("even", ("is odd.",))}),
    ],
)  # fmt: skip
def test_what_pydantic_refuses_in_options_is_said_in_words(values: dict[str, object], expected: set[messages.Said]) -> None:
    assert messages.said(Plugin, {"from": 1} | values) == expected


def test_missing_key_is_said_with_its_meaning() -> None:
    assert messages.said(Plugin, {}) == {("from", ("is missing.", "where it begins"))}


def test_keys_are_joined_as_toml_writes_them() -> None:
    assert messages.dotted("data", "split", 0) == "data.split.0"
    assert messages.dotted("freeze", "block1.0", "é", "") == 'freeze."block1.0"."é".""'


def test_value_is_shown_as_a_person_would_write_it_and_cut_after_60_characters() -> None:
    shown = [messages.shown(value) for value in (1e39, 3, True, "é", [1, "a"], datetime.date(2024, 2, 29))]
    assert shown == ["1e+39", "3", "true", '"é"', '[1, "a"]', '"2024-02-29"']
    assert messages.shown("x" * 58) == f'"{"x" * 58}"'
    assert messages.shown("x" * 59) == f'"{"x" * 56}...'


class Window(Table):
    """A table of a recipe."""

    size: int = Field(1, ge=1, description="its size, pixels")
    names: dict[Annotated[str, Field(pattern="^[a-z]+$")], int] = Field({}, description="numbers by name, in small letters")
    mode: Annotated[str, chosen_by(lambda value: refuse(value))] = Field("", description="what it does")

    @classmethod
    def _elsewhere(cls, key: str) -> str:
        return "write size = 1" if key == "width" else ""


def refuse(value: object) -> object:
    raise messages.problem(f"is {value}.", *(["", "say why", ""] if value == "why" else []))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": 0}, ("size", ("is 0, but should be greater than or equal to 1.", "its size, pixels"))),
        ({"width": 3}, ("width", ("there is no such key.", "write size = 1"))),
        ({"siz": 3}, ("siz", ("there is no such key.", "keys: size, names, mode", 'did you mean "size"?'))),
        ({"mode": "x"}, ("mode", ("is x.", "what it does"))),
        ({"mode": "why"}, ("mode", ("is why.", "say why"))),
        ({"names": {"A": 1}}, ("names.A", ("is \"A\", but string should match pattern '^[a-z]+$'.",))),
    ],
)
def test_table_writes_the_messages_of_its_own_keys(values: dict[str, object], expected: messages.Said) -> None:
    assert messages.said(Window, values) == {expected}
    with pytest.raises(ValidationError) as caught:
        Window.model_validate(values)
    assert (caught.value.title, messages.first(caught.value)) == ("Window", expected[1][0])
    (line,) = caught.value.errors()
    assert line["input"] == (next(iter(values.values())) if "names" not in values else "A")
    assert messages.dotted(*line["loc"]) == expected[0]


def test_first_problem_of_a_recipe_is_said_without_its_hints() -> None:
    assert messages.first(RecipeError([TlkitError("a: is 1.", "2"), TlkitError("b: is 2.")])) == "a: is 1."


@pytest.mark.parametrize("model", [Plugin, Window])
def test_error_that_is_raised_again_is_the_same(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"sizes": [], "mode": "why", "size": 0, "names": 3})
    lines = caught.value.errors()
    again = ValidationError.from_exception_data("again", [messages.unchanged(line) for line in lines])
    assert again.errors() == [{**line, "ctx": line.get("ctx", {})} for line in lines]
    assert len(lines) > 2


# anything at all


class Options(BaseModel):
    """Options as a third party might write them, with names that the recipe's own tables have too."""

    seeds: int = 3
    name: str = "x"
    format: list[int] = []


@pytest.mark.parametrize("values", [{"seeds": "a"}, {"format": ["a"]}, {"seeds": [], "name": 3}])
def test_options_named_as_header_keys_are_no_header_keys(values: dict[str, object]) -> None:
    with pytest.raises(RecipeError) as caught:
        parsing.options(Options, values, place="data.options")
    assert all(str(problem).startswith("data.options.") for problem in caught.value.problems)
    assert "names the run folder" not in str(caught.value)


def test_options_of_a_plugin_without_options_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"head\.options: this plugin has no options, and is given a, b"):
        parsing.options(None, {"a": 1, "b": 2}, place="head.options")
    with pytest.raises(RecipeError, match=r"is given path\.\n  data= names the folder of its files"):
        parsing.options(None, {"path": "noise"}, place="data.options")


KEYS = st.sampled_from(
    ["format", "name", "seeds", "arms", "backbone", "weights", "options", "head", "kind", "data", "split", "train", "augment",
     "batch_size", "freeze", "stem", "epochs", "lr_groups", "lr", "momentum", "optimizer", "betas", "schedule", "every",
     "milestones", "loss", "early_stopping", "patience", "=table", "=rate", "a.b", ""]
) | st.text(max_size=4)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["sgd", "adamw", "cosine", "step", "auto", "hflip", "none", "toy"])
    | st.just(datetime.date(2024, 2, 29))
    | st.just(datetime.time(1))
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
TREES = st.dictionaries(KEYS, VALUES, max_size=6)
GOOD = tomllib.loads(BASE)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(tables=TREES, over=st.booleans(), path=st.lists(KEYS, min_size=1, max_size=4), value=VALUES)
def test_whatever_a_recipe_holds_the_error_is_a_message(
    tables: dict[str, Any], over: bool, path: list[str], value: object
) -> None:
    tables = GOOD | tables if over else tables
    said = ""
    try:
        parsing.build(tables, where="r.toml", settings=[Setting(tuple(path), value)])
    except TlkitError as error:
        said = str(error)
    assert [line for line in said.split("\n") if said and not line.startswith(("r.toml: ", "  "))] == []


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (
            "[optimizer]\nname = 'sgd'\nlr = 0.1",
            ["optimizer.lr: there is no such key", "rates stand in lr_groups: lr_groups.head = 1e-3"],
        ),
        ("[schedule]\nname = 'cosine'\nlr = 0.1", ["schedule.lr: there is no such key", "rates stand in lr_groups"]),
        ("[trainer]\nx = 1", ["trainer: there is no such key", "keys: format"]),
        ("[dataset]\nname = 'x'", ["dataset: there is no such key", "[data] name"]),
        ("[loss]\noversample = true", ["loss.oversample: there is no such key", 'loss.class_weights = "balanced"']),
        ("[lr_scheduler]\nname = 'cosine'", ["lr_scheduler: there is no such key", "[schedule]"]),
        ("[optimizer]\nname = 'adamw'\ngradient_clip_val = 1.0", ["optimizer.clip_norm = 1.0"]),
    ],
)
def test_key_that_is_called_otherwise_elsewhere_is_answered_with_the_line_to_write(
    toy_recipe: Path, table: str, wanted: list[str]
) -> None:
    toy_recipe.write_text(toy_recipe.read_text().replace('[schedule]\nname = "cosine"\nepochs = 2\n', "") + "\n" + table + "\n")
    with pytest.raises(RecipeError) as caught:
        parsing.read(toy_recipe)
    assert all(words in str(caught.value) for words in wanted), str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("shrink = 8\nsplit = { per_class = 6 }", ["also.dark: split is that of a data set, and name is missing."]),
        ("split = { per_class = 6 }", ["also.dark: name is missing; a data set, or shrink = 32"]),
        ("name = 'synthetic'\nshrnk = 8", ["also.dark.shrnk: there is no such key."]),
    ],
)
def test_a_wrong_table_of_the_target_is_one_mistake(tmp_path: Path, table: str, said: list[str]) -> None:
    text = f'{BASE}[also.dark]\n{table}\n[adapt]\ntarget = "dark"\nmethod = "mcc"\n'
    found = load(tmp_path / "r.toml", text)
    assert [each.startswith(words) for each, words in zip(found, said, strict=True)] == [True] * len(said)
    assert len(load(tmp_path / "r.toml", text.replace('"dark"', '"drak"'))) == 2, "another target is a mistake of its own"
    assert len(load(tmp_path / "r.toml", f"also = 3\n{BASE}[adapt]\ntarget = 'dark'\nmethod = 'mcc'\n")) == 1


@pytest.mark.parametrize("table", ["", "[optimizer]\n"])
def test_a_recipe_of_wrong_keys_is_looked_through_until_a_thousand(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(messages, "nearest", lambda key, _: looked.append(key) or "")
    with pytest.raises(RecipeError) as caught:
        parsing.build(tomllib.loads(BASE + table + "".join(f"wrong{each} = 1\n" for each in range(5000))), where="r.toml")
    assert len(caught.value.problems) == 1000
    assert len(set(looked)) <= 3000, "what is right beside them is looked at twice more"
    assert str(caught.value).endswith("and at least 950 more problems")

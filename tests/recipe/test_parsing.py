"""How a recipe is read: files that are none, arms, `--set`, and what is left of a recipe that is wrong in part."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tlkit.errors import RecipeError, TlkitError
from tlkit.recipe import parsing
from tlkit.recipe.recipe import UNKNOWN, Arm, Recipe
from tlkit.recipe.settings import parse_setting

BASE: dict[str, Any] = {
    "format": 1,
    "name": "small",
    "backbone": {"name": "toy", "weights": "none"},
    "data": {"name": "synthetic"},
}


def refused(tables: dict[str, Any], settings: Sequence[str] = ()) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        parsing.build(BASE | tables, where="r", settings=[parse_setting(each) for each in settings])
    return caught.value


def lines(tables: dict[str, Any], *settings: str) -> list[str]:
    """The problems of a recipe and their hints, each in one line."""
    return [" | ".join([each.problem, *each.hints]) for each in refused(tables, settings).problems]


def left(tables: dict[str, Any]) -> Arm:
    """What is left of a recipe where wrong keys are left out."""
    rest = refused(tables).rest
    assert isinstance(rest, Recipe)
    return rest.arms["main"]


# files


def test_file_that_is_no_recipe_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "ant.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "ant.toml").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "none.toml").write_text("# nothing yet\n")
    (tmp_path / "half.toml").write_text("a = ")
    said = {
        "r.toml": ["there is no such recipe.", "tlkit init FOLDER writes one for a folder of images"],
        "quickstart": [
            "there is no such recipe.", "tlkit init --from quickstart writes the one that comes with tlkit",
            "tlkit init FOLDER writes one for a folder of images",
        ],
        "n" * 253: ["there is no such recipe.", "tlkit init FOLDER writes one for a folder of images"],
        "a b": ["is a folder, not a recipe.", f"tlkit init '{tmp_path / 'a b'}' writes one for a folder of images"],
        "ant.jpg": [
            "is a picture, not a recipe.", "a recipe is a TOML file; tlkit init, inspect and advise take a folder of images",
        ],
        "ant.toml": ["is not a recipe: it is not text in UTF-8.", "a recipe is a TOML file; save it as UTF-8"],
        "none.toml": ["is empty, not a recipe.", "tlkit init FOLDER writes one for a folder of images"],
        "half.toml": ["is not TOML: Invalid value (at end of document)."],
        "n" * 300: ["cannot be read: File name too long."],
    }  # fmt: skip
    for name, (problem, *hints) in said.items():
        with pytest.raises(TlkitError) as caught:
            parsing.read(tmp_path / name)
        assert (caught.value.problem, list(caught.value.hints)) == (f"{tmp_path / name}: {problem}", hints)


@pytest.mark.parametrize(
    ("line", "hints"),
    [
        ('path = "C:\\Users\\me"', ["in double quotes a backslash begins an escape; write 'C:\\Users\\me' in single quotes, or with /"]),
        (
            'options = { name = "x", path = "D:\\data" }',
            ["in double quotes a backslash begins an escape; write 'D:\\data' in single quotes, or with /"],
        ),
        ("[name]\n[name]", []),
        ('"never ends', []),
    ],
)  # fmt: skip
def test_path_of_windows_in_double_quotes_is_answered_with_single_ones(tmp_path: Path, line: str, hints: list[str]) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f'format = 1\nfirst = "a/b"\n{line}\n')
    with pytest.raises(TlkitError) as caught:
        parsing.read(path)
    assert caught.value.problem.startswith(f"{path}: is not TOML: ")
    assert list(caught.value.hints) == hints


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(tomli_w.dumps(BASE), encoding="utf-8-sig")
    assert parsing.read(path).name == "small"


def test_recipe_is_its_own_copy_of_the_tables() -> None:
    tables = BASE | {"data": {"name": "synthetic", "options": {"sizes": [1, 2]}}, "freeze": {"stem": True}}
    before = copy.deepcopy(tables)
    made = parsing.build(tables, where="r", settings=[parse_setting("freeze.head=true"), parse_setting("seeds=[3]")])
    assert tables == before
    tables["data"]["options"]["sizes"].append(3)
    assert made.arms["main"].data.options == {"sizes": [1, 2]}


# arms and the keys at the head of a recipe


def test_arms_are_tables_with_names_of_folders() -> None:
    rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder, at most 80 characters"
    assert lines({"arms": 3}) == ["r: arms: is 3, but should be a table. | write a table per arm, [arms.NAME]"]
    assert lines({"arms": {"a b": 3, "c": []}}) == [
        'r: arms."a b": is 3, but should be a table. | [arms."a b"]',
        f'r: arms."a b": is not a name for an arm. | {rule}',
        "r: arms.c: is [], but should be a table. | [arms.c]",
    ]
    assert lines({"arms": {"a" * 81: {}}}) == [f"r: arms.{'a' * 81}: is not a name for an arm. | {rule}"]
    assert list(parsing.build(BASE | {"arms": {"a" * 80: {}}}, where="r").arms) == ["a" * 80]


def test_baseline_that_is_no_arm_is_said_where_it_was_named() -> None:
    arms = {"arms": {"cold": {}, "warm": {}}}
    said = 'baseline: there is no arm "wram". | arms: cold, warm | did you mean "warm"?'
    assert lines(arms | {"baseline": "wram"}, "seeds=[1]") == [f"r: {said}"]
    assert lines(arms, "baseline=wram") == [f"r: settings {said}"]


def test_ensemble_is_wrong_where_it_was_named() -> None:
    arms = {"arms": {"cold": {}, "warm": {}}}
    said = 'ensemble.members: there is no arm "wram". | arms: cold, warm | did you mean "warm"?'
    assert lines(arms | {"ensemble": {"members": ["cold", "wram"]}}, "seeds=[1]") == [f"r: {said}"]
    assert lines(arms, "ensemble.members=['cold', 'wram']") == [f"r: settings {said}"]
    one = 'r: ensemble.members: is "seeds", and there is one seed. | seeds = [0, 1, 2]'
    assert lines({"ensemble": {"members": "seeds"}}) == [one]
    (folds,) = lines({"ensemble": {"members": "seeds"}, "seeds": [0, 1], "cross_validation": {"folds": 2}})
    assert folds.startswith('r: ensemble.members: is "seeds", but with [cross_validation] each seed tests on images')
    assert lines({"format": 2, "ensemble": {"members": "seeds"}})[1:] == [], "the head is mended first"


# --set


def test_each_setting_that_belongs_nowhere_is_said() -> None:
    arms = {"arms": {"cold": {}, "warm": {}}}
    no_key = 'names no key of an arm. | settings=["arms.NAME.key=value"]'
    assert lines(arms, "arms=1", "arms.cold=1", "arms.wram=1", "arms.hot.data.crop=1", "arms.cold.seeds=[3]", "data.crop=7") == [
        f"r: settings arms: {no_key}",
        f"r: settings arms.cold: {no_key}",
        'r: settings arms.wram: there is no arm "wram". | arms: cold, warm | did you mean "warm"?',
        'r: settings arms.hot.data.crop: there is no arm "hot". | arms: cold, warm',
        'r: settings arms.cold.seeds: seeds stands at the head of a recipe, for all of its arms. | settings=["seeds=[3]"]',
        "r: settings data.crop: is 7, but should be less than or equal to 1. | fraction of the picture's side that the centre crop "
        'keeps, with fit = "crop". Default: as the weights were trained',
    ]  # fmt: skip


# what is left of a recipe that is wrong in part


@pytest.mark.parametrize(
    ("tables", "rest"),
    [
        ({"precision": "half"}, {}),
        ({"early_stopping": {}}, {}),
        ({"early_stopping": {"patience": "x"}}, {}),
        ({"freeze": True}, {"freeze": {"backbone": True, "head": False}}),
        ({"freeze": {"stem": 1, "head": 1, "block1": False}}, {"freeze": {"stem": True, "head": False, "block1": False}}),
        ({"lr_groups": 3}, {"lr_groups": {"backbone": 1.0, "head": 1.0}}),
        ({"lr_groups": {"stem": 0.5, "head": {"weight_decay": 1}}}, {"lr_groups": {"stem": 0.5, "head": 1.0}}),
        ({"data": {"name": "x", "augment": ["flip", "flop"]}}, {"data": {"name": "x"}}),
        ({"data": {"name": "x", "augment": ["flip"], "augment_views": 4}}, {"data": {"name": "x"}}),
        ({"data": {"name": "x", "image_sizes": [{"epochs": 1}, {"size": 32}]}}, {"data": {"name": "x"}}),
        ({"data": {"name": "x", "scale_to": {}}}, {"data": {"name": "x"}}),
        ({"optimizer": {"betas": ["a", "b"], "weight_decay": 0.5}}, {"optimizer": {"weight_decay": 0.5}}),
        ({"backbone": {"name": "toy"}}, {}),
        ({"backbone": {"name": "toy", "weights": 3}}, {}),
    ],
    ids=str,
)
def test_wrong_keys_are_left_out_so_that_the_rest_can_be_checked(tables: dict[str, Any], rest: dict[str, Any]) -> None:
    assert left(tables) == parsing.build(BASE | rest, where="r").arms["main"]


@pytest.mark.parametrize("table", ["backbone", "data"])
@pytest.mark.parametrize("wrong", [None, {}, 3, {"name": 3}])
def test_table_without_a_name_is_left_as_one_of_an_unknown_name(table: str, wrong: object) -> None:
    tables = {key: value for key, value in (BASE | {table: wrong}).items() if value is not None}
    with pytest.raises(RecipeError) as caught:
        parsing.build(tables, where="r")
    assert isinstance(caught.value.rest, Recipe)
    (arm,) = caught.value.rest.arms.values()
    assert {key: getattr(arm, key).name for key in ("backbone", "data")} == {"backbone": "toy", "data": "synthetic"} | {
        table: UNKNOWN
    }


TARGET = {"target": "dark", "labels_per_class": 1}


@pytest.mark.parametrize(
    ("tables", "kept"),
    [
        ({"also": {"dark": {"name": "synthetic"}}, "adapt": TARGET, "precision": 3}, True),
        ({"adapt": TARGET, "precision": 3}, True),
        ({"also": {"drak": {"name": "synthetic"}}, "adapt": TARGET, "precision": 3}, True),
        ({"also": {"dark": {"shrink": 0}}, "adapt": TARGET}, False),
        ({"also": 3, "adapt": TARGET}, False),
        ({"also": {"dark": {"name": "synthetic"}}, "adapt": {"target": 3}}, False),
        ({"also": {"dark": {"name": "synthetic"}}, "adapt": 3}, False),
    ],
    ids=str,
)
def test_adapt_is_left_out_with_its_target_alone(tables: dict[str, Any], kept: bool) -> None:
    """Another target is a mistake of its own, which is said where data sets are found."""
    assert (left(tables).adapt is not None) is kept


def test_arms_that_are_right_are_left_beside_wrong_ones() -> None:
    rest = refused({"arms": {"a": {"data": {"crop": 7}}, "b": {"data": {"crop": 0.5}}}}).rest
    assert isinstance(rest, Recipe)
    assert {name: arm.data.crop for name, arm in rest.arms.items()} == {"a": None, "b": 0.5}
    assert rest.folds is None


def test_of_many_wrong_arms_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MOST_CHECKED", 3)
    wrong = refused({"baseline": "none", "arms": {f"a{number:02}": {"nokey": number} for number in range(30)}})
    assert [problem.problem.split(": ")[1] for problem in wrong.problems] == ["baseline", "arms.a00.nokey", "arms.a01.nokey"]
    assert "a19 and others" in str(wrong), "a list of 200,000 names is no message"

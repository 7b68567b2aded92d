"""The JSON Schema of a recipe: the file beside the recipes, and what an editor will say of a document."""

import copy
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import RecipeError
from tlkit.recipe import json_schema, parsing

RECIPES = Path(__file__).parents[2] / "recipes"
SCHEMA = RECIPES / "recipe.schema.json"
BASE: dict[str, Any] = {
    "format": 1,
    "name": "small",
    "backbone": {"name": "toy", "weights": "none"},
    "data": {"name": "synthetic"},
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def with_(path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(BASE)
    *parents, last = path.split(".")
    table = document
    for part in parents:
        table = table.setdefault(part, {})
    table[last] = value
    return document


def accepted(document: dict[str, Any]) -> bool:
    try:
        parsing.build(document, where="r.toml")
    except RecipeError:
        return False
    return True


def test_schema_beside_the_recipes_is_the_one_that_is_printed() -> None:
    assert SCHEMA.read_text() == json_schema.text(), "tlkit schema > recipes/recipe.schema.json"


def test_schema_is_printed_without_torch_and_without_plugins() -> None:
    code = (
        "import sys; from tlkit.recipe import json_schema; json_schema.text(); "
        "print('torch' in sys.modules, 'tlkit.plugin.registry' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_in_the_repository_validates(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(tomllib.loads(path.read_text()))


WHOLE: list[tuple[str, object]] = [
    ("seeds", [0, 1]), ("head", {"kind": "mlp", "options": {"widths": [3]}}), ("data.batch_size", "auto"), ("data.batch_size", 1),
    ("data.split", {"train": 3, "validation": 0.0}), ("data.augment", ["hflip", "random_crop"]), ("data.crop", 1),
    ("data.options", {"anything": [{"a": 1}]}), ("backbone.options", {"x": 1}), ("freeze", {"a.b": True, "c": {"epochs": 2}}),
    ("lr_groups", {"head": 1e-3, "backbone": {"lr": 1, "weight_decay": 0, "momentum": 0.5}}),
    ("optimizer", {"name": "sgd", "nesterov": True}), ("optimizer", {"name": "adam", "betas": [0.5, 0.6]}),
    ("optimizer", {"weight_decay": 0.1}), ("schedule", {"epochs": 3}), ("schedule", {"name": "step", "milestones": [1]}),
    ("schedule", {"name": "one_cycle", "rise": 0.5}), ("loss", {"label_smoothing": 0.1}), ("early_stopping", {"patience": 1}),
    ("arms", {}), ("arms", {"a": {}, "b.c": {"freeze": {}}}),
    ("arms.a", {"backbone": {"weights": "x"}, "data": {"split": {"train_per_class": 2}}, "schedule": {"epochs": 2}}),
    ("arms.a.optimizer", {"clip_norm": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WHOLE, ids=[path for path, _ in WHOLE])
def test_right_documents_are_accepted_by_both(path: str, value: object, validator: jsonschema.Draft202012Validator) -> None:
    assert list(validator.iter_errors(with_(path, value))) == []
    assert accepted(with_(path, value))


WRONG: list[tuple[str, object]] = [
    ("format", 2), ("format", True), ("name", "a/b"), ("name", ""), ("name", "a" * 81), ("name", 3), ("sead", 1), ("seeds", []),
    ("seeds", [-1]), ("seeds", ["0"]), ("seeds", 0), ("backbone", "toy"), ("backbone.name", ""), ("backbone.weight", "none"),
    ("backbone.weights", 3), ("head.kind", 1), ("data.batch_size", 0), ("data.batch_size", "all"), ("data.batch_size", True),
    ("data.augment", ["flip"]), ("data.augment", "hflip"), ("data.image_size", 7), ("data.crop", 0), ("data.on_corrupt", "ask"),
    ("data.split.validation", 1.0), ("data.split.train", 0), ("freeze", True), ("freeze.a", 1), ("freeze.a", "true"),
    ("freeze.a", {"epochs": 0}), ("freeze.a", {}), ("freeze.a", {"epoch": 1}), ("lr_groups.a", 0), ("lr_groups.a", -1.0),
    ("lr_groups.a", True), ("lr_groups.a", {}), ("lr_groups.a", {"lr": 0}), ("lr_groups.a", {"lr": 1, "decay": 2}),
    ("lr_groups.a", {"lr": 1, "momentum": 1.0}), ("optimizer", {"name": "sdg"}), ("optimizer", {"name": "adam", "momentum": 0.9}),
    ("optimizer", {"name": "adam", "betas": [0.9]}), ("optimizer", {"name": "adam", "betas": [0.9, 1.0]}), ("optimizer", 3),
    ("schedule", {"name": "cosine", "rise": 0.1}), ("schedule", {"name": "step", "every": 0}), ("schedule.epochs", 0),
    ("schedule.epochs", 1.5), ("loss.label_smoothing", 1), ("early_stopping", {"patience": 0}), ("arms", 3), ("arms", {"a": 3}),
    ("arms", {"a b": {}}), ("arms", {"a" * 81: {}}), ("arms.a.seeds", [1]), ("arms.a.arms", {}), ("arms.a.data.batch_size", 0),
    ("arms.a.freeze", {"x": 2}), ("arms.a.optimizer", {"name": "sgd", "betas": [0.1, 0.2]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[path for path, _ in WRONG])
def test_wrong_documents_are_refused_by_both(path: str, value: object, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(with_(path, value))
    assert not accepted(with_(path, value))


@pytest.mark.parametrize("key", ["format", "name"])
def test_header_must_be_whole(key: str, validator: jsonschema.Draft202012Validator) -> None:
    document = {name: value for name, value in BASE.items() if name != key}
    assert not validator.is_valid(document)
    assert not accepted(document)


def test_tables_may_be_left_to_the_arms(validator: jsonschema.Draft202012Validator) -> None:
    document = {
        "format": 1,
        "name": "x",
        "backbone": {"name": "toy"},
        "arms": {"a": {"backbone": {"weights": "none"}, "data": {"name": "synthetic"}}},
    }
    assert validator.is_valid(document)
    assert accepted(document)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["auto", "none", "sgd", "step"])
)
SMALL = (
    SCALARS
    | st.lists(SCALARS, max_size=2)
    | st.dictionaries(st.sampled_from(["name", "epochs", "lr", "train", "kind"]), SCALARS, max_size=2)
)
PLACES = sorted({path for path, _ in WHOLE + WRONG})


@settings(deadline=None, max_examples=150)
@given(path=st.sampled_from(PLACES), value=SMALL)
def test_what_a_recipe_may_say_the_schema_allows(path: str, value: object) -> None:
    """The schema may allow more (what only makes sense together), never less: an editor must not mark what runs."""
    document = with_(path, value)
    if accepted(document):
        assert list(jsonschema.Draft202012Validator(json_schema.schema()).iter_errors(document)) == []

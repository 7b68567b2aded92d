"""What the documentation takes from the code is what the code says now."""

import re

import pytest
from conftest import ROOT
from pages import DOCS, Page

from docs import generate
from tlkit.recipe.recipe import Arm


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.path.stem)
def test_generated_parts_are_up_to_date(page: Page) -> None:
    assert generate.generated(page.text) == page.text, "run: make docs-api"


def test_every_table_of_a_recipe_is_on_the_page() -> None:
    page = (generate.FOLDER / "recipe.md").read_text()
    assert [name for name in generate.TABLES if f"<!-- generated: keys {name} -->" not in page] == []


def test_every_key_of_an_arm_is_on_the_page() -> None:
    page = (generate.FOLDER / "recipe.md").read_text()
    tables = set(Arm.model_fields) - {"freeze", "precision", "select_by"}
    assert tables <= set(generate.TABLES)
    assert [name for name in Arm.model_fields if f"`{name}" not in page and f"[{name}" not in page] == []


def test_every_path_of_the_architecture_page_is_there() -> None:
    paths = set(re.findall(r"`((?:tlkit|plugins|tests|docs)/[\w./-]*)`", Page(generate.FOLDER / "architecture.md").text))
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_test_of_the_promises_page_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", Page(generate.FOLDER / "promises.md").text)
    assert len(named) > 20
    assert [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()] == []

"""The reports of the gallery: whole pages that load nothing and name no folder of the machine that made them."""

import pytest
from conftest import ROOT

from docs import gallery
from docs.site import Links


@pytest.mark.parametrize("name", gallery.REPORTS)
def test_report_stands_alone(name: str) -> None:
    if name not in gallery.facts():
        pytest.skip(f"python -m docs.gallery {name} has not made it yet")
    path = ROOT / "docs" / "gallery" / f"{name}.html"
    assert path.stat().st_size < 8e6
    page = path.read_text()
    assert gallery.places(page) == []
    assert [address for address in Links(path).loaded if not address.startswith("data:")] == []
    assert f"<h1>{name}" in page


def test_folders_of_a_machine_are_found_and_addresses_are_none() -> None:
    page = "<p>tlkit apply /root/runs/a/recipe.toml</p><p>https://example.org/home/a data:image/tmp/x runs/tmp/y</p>"
    assert gallery.places(page) == ["/root/runs/a/recipe.toml"]


def test_every_recipe_has_its_question_on_the_page() -> None:
    assert "| [quickstart](../recipes/quickstart.toml) | Does a network that was trained on ImageNet help" in gallery.recipes()

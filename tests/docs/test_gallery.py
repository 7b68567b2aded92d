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
    assert ("data:image/jpeg" in page) == (name == "quickstart")  # those of ants_bees may not be copied


def test_absolute_paths_are_found_and_addresses_base64_and_code_are_none() -> None:
    text = "<p>tlkit apply /root/runs/a/recipe.toml</p><p>https://example.org/home/a runs/tmp/y and/or 1/2</p>"
    data = '<script type="application/json">{"file": "/srv/images/ant.jpg"}</script>'
    code = "<script>a.replace(/b/g, '')</script><img src='data:image/jpeg;base64,/9j/4AAQ'>"
    assert gallery.places(text + data + code) == ["/root/runs/a/recipe.toml", "/srv/images/ant.jpg"]


def test_every_recipe_has_its_question_on_the_page() -> None:
    assert "| [quickstart](../recipes/quickstart.toml) | Does a network that was trained on ImageNet help" in gallery.recipes()

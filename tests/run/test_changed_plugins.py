"""A plugin whose code changed after a run: whoever reads the run says so."""

import sys
from importlib import invalidate_caches, metadata
from pathlib import Path

import pytest
from conftest import TOY, Cli
from PIL import Image
from toy_observers import Notes, Stops

import tlkit
from tlkit.plugin import Backbone, Head, provenance, registry
from tlkit.record import run_folder


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backbone of its own distribution, mine 1.0, in the test's folder; returns the file of its network."""
    site = tmp_path / "site"
    (site / "mine-1.0.dist-info").mkdir(parents=True)
    (site / "mine-1.0.dist-info" / "entry_points.txt").write_text("[tlkit.backbones]\nmine = my_backbone:mine\n")
    (site / "mine-1.0.dist-info" / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    (site / "my_backbone.py").write_text(
        "from dataclasses import replace\nfrom tlkit_toy import toy\nmine = replace(toy, build='my_net:toy')\n"
    )
    (site / "my_net.py").write_text((TOY / "tlkit_toy_build.py").read_text())
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    invalidate_caches()
    registry.scan.cache_clear()
    yield site / "my_net.py"
    for name in ("my_backbone", "my_net"):
        sys.modules.pop(name, None)
    registry.scan.cache_clear()


def _change(file: Path) -> None:
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()"))


def test_a_plugin_that_changed_is_said_wherever_its_run_is_read(plugin: Path, toy_recipe: Path, run: Cli) -> None:
    toy_recipe.write_text(toy_recipe.read_text().replace('name = "toy"\nweights', 'name = "mine"\nweights'))
    first = tlkit.apply(toy_recipe, "schedule.epochs=1")
    folder = first.folder / first.result["arms"]["main"]["seeds"]["0"]["folder"]
    known = run_folder.resolved(folder)["plugins"]
    assert [known[part]["distribution"] for part in ("backbone", "head", "data")] == ["mine", "tlkit", "tlkit"]
    again = Notes()
    assert not tlkit.apply(toy_recipe, "schedule.epochs=1", observer=again, verify=True).changed
    assert again.notes == [
        "verify: every run is finished with data, weights and plugins as they are now; no stored row was read"
    ]
    _change(plugin)
    words = 'backbone "mine": the code of mine 1.0 changed since it was trained'
    again = Notes()
    assert not tlkit.apply(toy_recipe, "schedule.epochs=1", observer=again, verify=True).changed
    assert words in again.notes[0]
    assert "data and weights as they are now" in again.notes[1]
    Image.new("RGB", (16, 16)).save(plugin.parent / "a.png")
    code, _, text = run("predict", folder, plugin.parent / "a.png")
    assert code == 0
    assert words in text
    tlkit.load(folder, device="cpu").save("saved")
    begun = Notes()
    tlkit.apply(toy_recipe, ["schedule.epochs=1", f"backbone.weights=run:{folder}"], observer=begun)
    assert any(words in line for line in begun.notes)
    (plugin.parent / "mine-1.0.dist-info" / "entry_points.txt").unlink()
    registry.scan.cache_clear()
    code, _, text = run("predict", folder, plugin.parent / "a.png")
    assert code == 1
    assert f'{folder}: its backbone "mine" is not installed.\n  it was trained with the plugin of mine 1.0\n' in text


def test_a_run_that_goes_on_with_another_plugin_is_not_exact(plugin: Path, toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text().replace('name = "toy"\nweights', 'name = "mine"\nweights'))

    with pytest.raises(KeyboardInterrupt):
        tlkit.apply(toy_recipe, observer=Stops())
    _change(plugin)
    done = tlkit.apply(toy_recipe)
    (result,) = done.result["arms"]["main"]["seeds"].values()
    assert not result["exact"]
    assert "the code of mine 1.0 changed" in result["why_inexact"]


def test_versions_are_compared_part_by_part() -> None:
    toy = provenance.of(registry.get(Backbone, "toy"), "toy")
    solved = provenance.of(registry.get(Head, "svm"), "svm")
    assert set(solved.libraries) == {"scikit-learn", "skops", "torchvision"}, "torchvision of the heads for boxes beside it"
    assert provenance.of(registry.get(Backbone, "resnet18"), "resnet18").libraries == {
        "torchvision": metadata.version("torchvision")
    }
    assert toy.libraries == {}, "its own code alone"
    before = {"backbone": toy.record(), "head": solved.record()}
    now = {"backbone": toy, "head": solved}
    assert provenance.changes(before, now) == []
    assert provenance.changes(None, now) == [], "of an older tlkit"
    before["backbone"] |= {"version": "0.9"}
    before["head"] |= {"libraries": {**solved.libraries, "skops": "0.1"}}
    lines = provenance.changes(before, now)
    assert lines[0] == 'backbone "toy": was trained with tlkit-toy 0.9, and tlkit-toy 1.0 is installed'
    assert lines[1].startswith('head "svm": was trained with skops 0.1, and ')

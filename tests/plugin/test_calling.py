"""A plugin that raises, prints, exits, changes this process or gives something else is named with its distribution and version."""

import os
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tlkit import plugin
from tlkit.errors import PluginError
from tlkit.network import building
from tlkit.plugin import Backbone, DataFiles, Dataset, Head, Images, Split, registry
from tlkit.plugin.registry import Entry, EntryPoints
from tlkit.sources import datasets

OWNER = "it comes with wild-plugin 3.1"


@pytest.fixture
def wild(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of a third party, with an entry point of its distribution."""
    module = types.ModuleType("wild")
    monkeypatch.setitem(sys.modules, "wild", module)
    found = EntryPoints((Entry("tlkit.datasets", "wild", "wild:value", "wild-plugin", "3.1"),), (), ())
    monkeypatch.setattr(registry, "scan", lambda: found)
    return module


def _raises() -> None:
    raise ZeroDivisionError("by zero")


def _exits() -> None:
    sys.exit(0)


def _moves() -> None:
    os.chdir("/")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (_raises, "wild:act: failed: ZeroDivisionError: by zero"),
        (_exits, "wild:act: failed: SystemExit: 0"),
        (_moves, "wild:act: changes the working directory, to /,"),
    ],
)
def test_what_goes_wrong_in_a_plugin_names_its_distribution(
    wild: types.ModuleType, what: Callable[[], None], words: str
) -> None:
    wild.act = what
    before = os.getcwd()
    with pytest.raises(PluginError) as caught:
        plugin.call("wild:act")
    assert caught.value.problem.startswith(words)
    assert caught.value.hints == (OWNER,)
    assert os.getcwd() == before


def test_what_a_plugin_prints_is_no_result(wild: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    wild.act = lambda: print("loading ...")
    plugin.call("wild:act")
    assert capsys.readouterr() == ("", "loading ...\n")


def test_random_state_that_a_plugin_changes_is_put_back(wild: types.ModuleType) -> None:
    def act() -> None:
        random.seed(1)
        np.random.seed(1)

    wild.act = act
    random.seed(7)
    np.random.seed(7)
    plugin.call("wild:act")
    drawn = random.random(), np.random.random()
    random.seed(7)
    np.random.seed(7)
    assert drawn == (random.random(), np.random.random())


def _split(dtype: str, shape: tuple[int, ...]) -> Split:
    return Split(targets=np.array([0, 1]), pixels=np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "gave NoneType"),
        (Images(("a", "b"), {"train": _split("float32", (2, 8, 8, 3))}), "pixels are float32"),
        (Images(("a", "b"), {"train": _split("uint8", (2, 8, 8))}), r"pixels are uint8 \(2, 8, 8\)"),
    ],
)
def test_images_of_another_shape_or_type_name_the_distribution(wild: types.ModuleType, given: object, words: str) -> None:
    wild.read = lambda *_: given
    with pytest.raises(PluginError, match=words) as caught:
        datasets.read_data(Dataset(read="wild:read"), DataFiles(Path(), ()), None)
    assert OWNER in caught.value.hints


def test_a_backbone_that_builds_something_else_names_the_distribution(wild: types.ModuleType) -> None:
    wild.stages = lambda: {"other": None}
    backbone = Backbone(build="wild:stages", stages={"body": ("conv",)}, features=8, classifier="fc")
    head = Head(build="tlkit_heads.build:Linear", summary="linear")
    with pytest.raises(PluginError, match="builds the stages") as caught:
        building.build(backbone, head, classes=2, backbone_options=None, head_options=None, seed=0)
    assert OWNER in caught.value.hints

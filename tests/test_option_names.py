"""A message names an option as the reader gave it: on the command line, or as an argument in Python."""

from pathlib import Path

import pytest
from conftest import Cli

from tlkit import api
from tlkit.errors import TlkitError, command_line, option


def test_option_is_named_for_the_door_that_is_used() -> None:
    assert [option("data"), option("data", "images"), option("offline", True)] == ["data=", 'data="images"', "offline=True"]
    with command_line():
        assert [option("data"), option("data", "images"), option("offline", True)] == ["--data", "--data images", "--offline"]
    assert option("data") == "data="


def test_missing_folder_names_the_argument_in_python_and_the_option_on_the_command_line(toy_recipe: Path, run: Cli) -> None:
    settings = ["data.name=folder", 'data.options.path="nowhere"']
    with pytest.raises(TlkitError, match=r"or data=$"):
        api.apply(toy_recipe, settings)
    code, _, text = run("apply", toy_recipe, "--set", settings[0], "--set", settings[1])
    assert code == 1
    assert text.rstrip().endswith("or --data")

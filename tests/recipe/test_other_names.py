"""Names of settings in other frameworks: the line to write instead is one that a recipe takes."""

import re
import tomllib

import pytest

from tlkit.recipe import other_names, parsing
from tlkit.recipe.settings import parse_setting

MINIMAL = 'format = 1\nname = "x"\nbackbone = { name = "toy", weights = "none" }\ndata = { name = "synthetic" }\n'


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("weight_decay", "optimizer.weight_decay = 0.01"),
        ("Weight-Decay", "optimizer.weight_decay = 0.01"),
        ("BATCH_SIZE", "data.batch_size = 32"),
        ("colour", ""),
    ],
)
def test_name_is_known_in_any_case_and_with_hyphens(key: str, line: str) -> None:
    assert other_names.hint(key) == line


@pytest.mark.parametrize("line", sorted(set(other_names._KNOWN.values())))
def test_line_that_is_offered_is_one_that_a_recipe_takes(line: str) -> None:
    """A line holds settings, "a.b = 1, c.d = 2", or those of one table, "[a] b = 1, c = 2"; or it is all words."""
    table = re.search(r"\[([a-z]+)\] ", line)
    prefix, rest = (f"{table[1]}.", line[table.end() :]) if table else ("", line)
    keys = [prefix + each for each in re.findall(r'[a-z_.]+ = (?:\{.*\}|\[.*\]|"[^"]*"|[^,;"]+)', rest)]
    parsing.build(tomllib.loads(MINIMAL), where="r", settings=[parse_setting(each) for each in keys])
    assert keys or " = " not in line

"""A table of a recipe: where a setting of another framework belongs, and a table whose `name` says which of several it is."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, create_model

from tlkit.recipe import messages
from tlkit.recipe.table import Table, by_name


class Circle(Table):
    name: Literal["circle"]
    radius: int = 1


class Square(Table):
    name: Literal["square"]


@pytest.fixture
def drawing() -> type[Table]:
    shape = Annotated[Annotated[Circle | Square, Field(discriminator="name")], by_name("shape", Circle | Square)]
    return create_model("Drawing", __base__=Table, shape=(shape, ...))


def problem(table: type[Table], shape: object) -> tuple[str, ...]:
    """The place, the message and the hints of the one problem."""
    with pytest.raises(ValidationError) as caught:
        table.model_validate({"shape": shape})
    (line,) = caught.value.errors()
    return (messages.dotted(*line["loc"]), *messages.words(line, table))


def test_table_without_a_known_name_is_answered_with_the_names(drawing: type[Table]) -> None:
    listed = "shapes: circle, square"
    assert problem(drawing, {"name": "cirle"}) == ("shape", 'there is no shape "cirle".', listed, 'did you mean "circle"?')
    assert problem(drawing, {"name": "tree"}) == ("shape", 'there is no shape "tree".', listed)
    assert problem(drawing, {"name": ["square"]})[:3] == ("shape", 'there is no shape ["square"].', listed)
    assert problem(drawing, {"radius": 2}) == ("shape", 'is {"radius": 2}, and has no name.', listed)


def test_name_decides_which_keys_a_table_has(drawing: type[Table]) -> None:
    circle = Circle(name="circle", radius=3)
    for each in (circle, {"name": "circle", "radius": 3}):
        assert dict(drawing.model_validate({"shape": each})) == {"shape": circle}
    assert problem(drawing, {"name": "square", "radius": 3}) == ("shape.radius", "there is no such key.", "keys: name")
    assert problem(drawing, 3) == ("shape", "is 3, but should be a table.")


def test_key_of_another_framework_is_answered_with_the_line_to_write(drawing: type[Table]) -> None:
    found = problem(drawing, {"name": "square", "Weight-Decay": 1})
    assert found == ("shape.Weight-Decay", "there is no such key.", "optimizer.weight_decay = 0.01")

"""The tables [backbone] and [data]: values that may be of several types, and names that become folders."""

import pytest
from pydantic import BaseModel, ValidationError

from tlkit.recipe import messages
from tlkit.recipe.recipe import Header
from tlkit.recipe.tables import BackboneTable, DataTable, FieldOfView, InputTable

NAMED: dict[str, object] = {"name": "x", "weights": "none"}


def words(table: type[BaseModel], values: dict[str, object]) -> tuple[str, ...]:
    """The place, the message and the hints of the one problem."""
    with pytest.raises(ValidationError) as caught:
        table.model_validate(values)
    (line,) = caught.value.errors()
    return (messages.dotted(*line["loc"]), *messages.words(line, table))


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "-a", ".a", "a" * 81])
def test_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder; at most 80 characters"
    assert words(Header, {"format": 1, "name": name}) == ("name", f"is {messages.shown(name)}.", rule)


@pytest.mark.parametrize("name", ["a", "7", "A.b_c-9", "a" * 80])
def test_name_that_can_be_a_folder_is_taken(name: str) -> None:
    assert Header(format=1, name=name).name == name


def test_preprocessing_is_a_name_or_a_table() -> None:
    for value in ("torch", "caffe"):
        assert BackboneTable.model_validate(NAMED | {"input": value}).input == value
    made = BackboneTable.model_validate(NAMED | {"input": {"range": 255.0}})
    assert made.input == InputTable(range=255.0)
    assert BackboneTable.model_validate(NAMED | {"input": made.input}) == made
    assert words(BackboneTable, NAMED | {"input": "cafe"}) == (
        "input", 'is "cafe".', 'one of: "torch", "caffe"', 'did you mean "caffe"?', "or a table: channels, range, mean, std, resize",
    )  # fmt: skip


def test_batch_size_is_a_whole_number_or_auto() -> None:
    assert [DataTable.model_validate({"name": "x", "batch_size": size}).batch_size for size in (1, "auto")] == [1, "auto"]
    for value in ("AUTO", 1.5, True):
        place, message, _ = words(DataTable, {"name": "x", "batch_size": value})
        assert (place, message) == ("batch_size", f'is {messages.shown(value)}, but should be a whole number or "auto".')


def test_image_size_is_one_number_for_a_square_and_two_for_others() -> None:
    sizes = (8, [224, 224], [224, 320], [2048, 8])
    assert [DataTable.model_validate({"name": "x", "image_size": size}).image_size for size in sizes] == [8, 224, *sizes[2:]]
    for value in ([224], [8, 8, 8], "big", True, 8.0):
        assert words(DataTable, {"name": "x", "image_size": value}) == (
            "image_size",
            f"is {messages.shown(value)}, but should be a whole number or [height, width].",
            "224, or [224, 320], in pixels",
        )


def test_scale_is_a_factor_or_a_table() -> None:
    scales = {0.5: 0.5, 2: 2.0, 64: 64.0}
    assert {each: DataTable.model_validate({"name": "x", "scale_to": each}).scale_to for each in scales} == scales
    made = DataTable.model_validate({"name": "x", "scale_to": {"field_of_view": 540}})
    assert made.scale_to == FieldOfView(field_of_view=540)
    assert DataTable.model_validate({"name": "x", "scale_to": made.scale_to}) == made
    for value in ("half", True):
        assert words(DataTable, {"name": "x", "scale_to": value}) == (
            "scale_to", f"is {messages.shown(value)}, but should be a factor or a table.", "0.5, or { field_of_view = 540 }",
        )  # fmt: skip

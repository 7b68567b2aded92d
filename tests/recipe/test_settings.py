"""`--set key=value`: what is read as TOML, what as text, and what is refused."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import TlkitError, command_line
from tlkit.recipe.settings import Setting, parse_setting, path_of, read_toml


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("schedule.epochs=2", ("schedule", "epochs"), 2),
        (" schedule . epochs = 2", ("schedule", "epochs"), 2),
        ("lr_groups.head=1e-3", ("lr_groups", "head"), 1e-3),
        ('freeze."layer4.0"=true', ("freeze", "layer4.0"), True),
        ("freeze.'layer4.0.conv1'={epochs=2}", ("freeze", "layer4.0.conv1"), {"epochs": 2}),
        ("backbone.weights=none", ("backbone", "weights"), "none"),
        ('backbone.weights="none"', ("backbone", "weights"), "none"),
        ("backbone.weights=run:runs/a=b", ("backbone", "weights"), "run:runs/a=b"),
        ("data.augment=[]", ("data", "augment"), []),
        ("data.options.path=", ("data", "options", "path"), ""),
        ("arms.a-b.seeds=[1]", ("arms", "a-b", "seeds"), [1]),
    ],
)
def test_set_is_read_as_toml_or_else_as_a_string(text: str, path: tuple[str, ...], value: object) -> None:
    assert parse_setting(text) == Setting(path, value)


@pytest.mark.parametrize("text", ["schedule.epochs", "=2", " =2", ""])
def test_text_that_is_no_key_and_value_is_answered_with_one(text: str) -> None:
    with pytest.raises(TlkitError) as caught, command_line():
        parse_setting(text)
    assert caught.value.problem == f"--set {text}: is not key=value."
    assert caught.value.hints == ("for instance --set schedule.epochs=2",)


@pytest.mark.parametrize("key", ["a b", "#a", "a..b", "[a]"])
def test_key_that_toml_would_not_take_is_refused(key: str) -> None:
    with pytest.raises(TlkitError) as caught:
        parse_setting(f"{key}=1")
    assert caught.value.problem == f"settings {key}=1: {key!r} is not a key."
    assert caught.value.hints == ("quote a module path: 'freeze.\"layer4.0\"=true'",)
    assert path_of(f"[t]\n{key}") == path_of("[a]\nb") == ()


@pytest.mark.parametrize("text", ["seeds=[1] # a\nname='x'", "data.crop=0.5\nprecision='float32'"])
def test_second_line_of_a_setting_is_refused_not_ignored(text: str) -> None:
    with pytest.raises(TlkitError) as caught:
        parse_setting(text)
    assert caught.value.problem == f"settings {text!r}: its first line is one setting, and more follow."
    assert caught.value.hints == ("give each setting by itself",)
    assert parse_setting("seeds=[1,\n2]").value == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 3000, "tables or arrays are nested too deeply"),
        ("a = " + "1" * 5000, "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits"),
    ],
)
def test_text_on_which_tomllib_fails_otherwise_is_no_toml_either(text: str, words: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        read_toml(text)
    assert str(caught.value) == words


KEYS = st.sampled_from(["seeds", "data", "crop", "arms", "a.b", ""]) | st.text(max_size=4)


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=12) | st.builds("{}={}".format, KEYS, st.text(max_size=8)))
def test_whatever_a_set_says_the_error_is_a_message(text: str) -> None:
    try:
        outcome: object = parse_setting(text).path
    except TlkitError as error:
        outcome = str(error).startswith("settings ")
    assert outcome

"""An error about keys of a recipe, in the arguments of Model from which its tables were made."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

_START = r"(?<![\w./\"])"
_VALUE = r"(\"[^\"]*\"|\[[^\]]*\]|\{[^{}]*\}|[\w.+-]*\w)"
_TABLES = r"(optimizer|schedule|loss|lr_groups|head|split|options)"
_DATA = "batch_size|augment|augment_views|options|split|on_corrupt|on_overlap|image_size|channels"
_KEYS = {  # of a recipe -> the argument
    rf"data\.({_DATA})": r"\1",
    r"backbone\.name": "backbone",
    r"backbone\.(weights|input|batch_norm)": r"\1",
    r"schedule\.epochs": "epochs",
    r"early_stopping\.patience": "early_stopping",
}
_ONE = {  # an argument that is given -> the key in the place of which it stands
    "lr": r"lr_groups\.(backbone|head)",
    "validation_split": r"data\.split\.validation",
    "class_weight": r"loss\.class_weights",
}
_OTHERS = {  # what a hint says of an argument that only functions have -> what it says of Model's calls
    ', or data="images"': "",
    "with data.options.path (relative to the recipe) or data=": '(data.options.path = "images")',
    "with data=": "with TLKIT_DATA",
    "data= names": "TLKIT_DATA names",
    ", with verify=True if it says so again": "",
}


def problem(text: str, given: Mapping[str, object]) -> str:
    """Return the first line of an error, or a note, with arguments in the place of keys.

    Args:
        text: It.
        given: The arguments of the call.
    """
    ones = {key: name for name, key in _ONE.items() if given.get(name) is not None}
    ones |= {} if isinstance(given.get("head"), Mapping) else {r"head\.kind": "head"}
    for key, name in (ones | _KEYS).items():
        text = re.sub(rf"{_START}{key}\b", name, text)
    return text


def hint(text: str, given: Mapping[str, object]) -> str:
    """Return a line that says what would be right, with arguments in the place of keys. The arguments are those of `problem`."""
    for words, own in _OTHERS.items():
        text = text.replace(words, own)
    text = re.sub(r"\[(\w+)\] (\w+ = [^,;]+(?:, \w+ = [^,;]+)*)", lambda at: f"{at[1]}={_table(at[2])}", text)
    text = re.sub(r"\{ (\w+ = [^{}]+) \}", lambda at: _table(at[1]), text)
    if re.search(rf"(?<!with ){_START}data\.(?!(?:{_DATA})\b)\w+ = ", text):  # no argument says it
        text += "; Model.from_recipe reads a recipe with such a key"
    text = re.sub(rf"{_START}freeze\.([\w.]+|\"[^\"]*\") = true", lambda key: f"model.freeze({_quoted(key[1])})", text)
    text = re.sub(rf"{_START}freeze\.([\w.]+|\"[^\"]*\") = false", lambda key: f"model.unfreeze({_quoted(key[1])})", text)
    text = problem(text, {name: value for name, value in given.items() if name != "lr"})  # a hint gives a part its own rate
    text = re.sub(rf"{_START}{_TABLES}\.(\w+) = {_VALUE}", r'\1={"\2": \3}', text)
    text = re.sub(rf"{_START}(optimizer|schedule|loss|lr_groups)\.(\w+)", r'\1={"\2": ..}', text)
    return re.sub(rf"{_START}(\w+) = {_VALUE}$", r"\1=\2", text)


def _table(toml: str) -> str:
    """Return a table of TOML as a dict of Python, a value `..` as it is; `{ .. }` where it has words and no values."""
    quoted = toml.replace(" ..", ' ".."')
    try:
        return str(tomllib.loads(f"x = {{{quoted}}}")["x"]).replace("'", '"').replace('".."', "..")
    except tomllib.TOMLDecodeError:
        return f"{{ {toml} }}"


def _quoted(key: str) -> str:
    return key if key.startswith('"') else f'"{key}"'

"""The names of classes in the .yaml file of a YOLO data set, for a hint; tlkit needs no YAML library.

Four forms are read: ["cat", dog], {0: cat, 1: dog}, and either over several lines. Anything else offers no name at all, because the
hint is pasted into a recipe, where a wrong order would give every box another class.
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r"(?:^|[ \t])#[^\n]*", re.MULTILINE)
_FLOW = re.compile(r"^names:\s*(?:\[([^\[\]]*)\]|\{([^{}]*)\})[ \t]*$", re.MULTILINE)
_BLOCK = re.compile(r"^names:[ \t]*\n((?:[ \t]*(?:-[ \t][^\n]*|\d+:[ \t][^\n]*)?(?:\n|\Z))++)(?=\S|\Z)", re.MULTILINE)
_NUMBERED = re.compile(r"(\d+):\s+(.+)", re.DOTALL)
_NAME = re.compile(r"""'([^'\n]+)'|"([^"\\\n]+)"|([^\s'"&*!|>%@`,\[\]{}:-](?:[^\n:]|:(?=\S))*)""")  # quoted, or plain


def names_in(text: str) -> list[str]:
    """Return the names of the classes in the order of their numbers; none where they are not 0, 1, 2 and so on, or not understood."""
    text = _COMMENT.sub("", text)  # one in quotes leaves half of them, which is no name
    if flow := _FLOW.search(text):
        entries = [entry.strip() for entry in (flow[1] or flow[2] or "").split(",")]
        entries = entries if entries[-1] else entries[:-1]  # a comma may end them
        found = _listed(entries) if flow[1] is not None else _numbered(entries)
    elif block := _BLOCK.search(text):
        entries = [entry for line in block[1].split("\n") if (entry := line.strip())]
        dashes = [entry.startswith("-") for entry in entries]
        found = _listed([entry[1:].strip() for entry in entries]) if all(dashes) else _numbered(entries)
    else:
        found = {}
    return [found[number] for number in sorted(found)] if sorted(found) == list(range(len(found))) else []


def _listed(entries: list[str]) -> dict[int, str]:
    """Return the names of entries without numbers; none where one is not understood."""
    names = [_name(entry) for entry in entries]
    return dict(enumerate(names)) if all(names) else {}


def _numbered(entries: list[str]) -> dict[int, str]:
    """Return the names of entries by their numbers; none where one is not understood or a number comes twice."""
    pairs = [_NUMBERED.fullmatch(entry) for entry in entries]
    found = {int(pair[1]): _name(pair[2]) for pair in pairs if pair}
    return found if len(found) == len(entries) and all(found.values()) else {}


def _name(entry: str) -> str:
    found = _NAME.fullmatch(entry)
    return (found[1] or found[2] or found[3].strip()) if found else ""

"""What a file or a class is called is printed, and never obeyed by a terminal or read as rich's markup."""

import io
import sys

import pytest
from rich.console import Console

from tlkit.cli import console
from tlkit.reports import tables
from tlkit.reports.plain_text import Plain, plain
from tlkit.reports.progress import TerminalObserver

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31mcat\r\x08\x7f\u202egnp.exe\u2066[red]:smile:[/red]"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31mcat\x0d\x08\x7f\u202egnp.exe\u2066[red]:smile:[/red]"
IN_A_TABLE = SHOWN.replace(r"\x07", "").replace(r"\x0d\x08", "")  # rich itself drops these


def test_control_characters_are_numbers_and_all_other_text_stays() -> None:
    assert plain(HOSTILE) == SHOWN
    assert plain("Katze, кошка, 猫, قط 🐈\tx\n") == "Katze, кошка, 猫, قط 🐈\tx\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_table_keeps_its_colours_and_shows_what_a_name_holds(terminal: bool) -> None:
    written = Console(file=io.StringIO(), force_terminal=terminal, width=300, markup=False, emoji=False)
    written.print(Plain(tables.predictions([(HOSTILE, [(HOSTILE, 0.5)])])))
    assert isinstance(written.file, io.StringIO)
    text = written.file.getvalue()
    assert text.count(IN_A_TABLE) == 2
    assert [each for each in ("\x07", "\x9b", "\u202e", "\x1b]", "\x1b[2J") if each in text] == []
    assert ("\x1b[1m" in text) is terminal  # the header is bold


def test_every_way_to_print_shows_a_name_and_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.line(HOSTILE)
    console.say(HOSTILE)
    console.show(tables.predictions([(HOSTILE, [])]))
    TerminalObserver(Console(file=sys.stderr)).note(HOSTILE)
    out, err = capsys.readouterr()
    assert (out.count(SHOWN), out.count(IN_A_TABLE), err.count(SHOWN)) == (1, 1, 2)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out + err)

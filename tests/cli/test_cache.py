"""`tlkit cache`: what is kept, how much of it, and how it goes."""

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli

from tlkit import file_digests
from tlkit.reports import tables
from tlkit.store import cache, row_store
from tlkit.store.usage import Kind

DIGEST = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "5000000")
    return tmp_path / "kept"


@pytest.fixture
def filled(folder: Path) -> Path:
    """Three rows of 1000 bytes and one of 4, remembered hashes, and a measurement."""
    keep(Kind.PICTURES, rows=3, shape=(1000,), size="224 px", weights=DIGEST, backbone="")
    keep(Kind.FEATURES, rows=1, shape=(4,), backbone="resnet18 [layer2]")
    for index in folder.glob("pictures/*/*.index"):
        os.utime(index, (at := datetime.datetime(2026, 3, 4, 5, 6, 7).timestamp(), at))
    (folder / "one").write_bytes(b"1")
    file_digests.digests([folder / "one"])
    (folder / "measured").mkdir()
    (folder / "measured" / f"{DIGEST}.json").write_bytes(b"{}")
    return folder


def keep(kind: Kind, *, rows: int, shape: tuple[int, ...], **facts: cache.Scalar) -> None:
    keys = np.arange(rows * 16, dtype=np.uint8).reshape(rows, 16)
    row_store.open_(kind, facts, shape=shape, dtype="uint8", note=print).append(keys, [np.zeros((rows, *shape), np.uint8)])


def test_table_says_what_lies_there_and_the_limit(filled: Path, run: Cli) -> None:
    code, output, text = run("cache")
    lines = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines()]
    assert (code, text) == (0, "")
    assert lines[0] == ["content", "made from", "rows", "size", "last used"]
    assert lines[1][:3] == ["features", "backbone resnet18 [layer2]", "1"]
    assert lines[2][:3] == ["pictures", "weights 01234567, size 224 px", "3"]
    assert re.fullmatch(r"3\.[345]\d? KB", lines[2][3])
    assert lines[2][4] == "2026-03-04 05:06"
    assert re.fullmatch(rf"{re.escape(str(filled))}: 3\.\d\d? KB of at most 5 MB", lines[3][0])
    assert [line[0].split(":")[0] for line in lines[4:]] == ["hashes.sqlite", "measured"]
    assert lines[5][0] == "measured: 2 bytes"


def test_of_many_entries_those_that_were_used_last_are_shown(filled: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_ENTRIES", 1)
    read, origin = list[Path](), cache._origin
    monkeypatch.setattr(cache, "_origin", lambda path: (read.append(path), origin(path))[1])
    output = run("cache")[1]
    assert {path.parent.name for path in read} == {"features"}, "no file is read of an entry that is not shown"
    assert "features" in output
    assert "pictures" not in output
    assert "and 1 used less recently: --json" in output
    assert "3." in output.splitlines()[-3]


def test_json_says_the_same_in_numbers(filled: Path, run: Cli) -> None:
    code, output, _ = run("cache", "--json")
    record = json.loads(output)
    assert code == 0
    assert (record["format"], record["folder"], record["limit"]) == (1, str(filled), 5_000_000)
    new, old = record["entries"]
    assert (new["kind"], new["rows"], new["origin"]) == ("features", 1, {"backbone": "resnet18 [layer2]"})
    assert (old["kind"], old["rows"], old["origin"]) == ("pictures", 3, {"size": "224 px", "weights": DIGEST, "backbone": ""})
    assert record["total"] == new["bytes"] + old["bytes"]
    assert set(record["others"]) == {"hashes.sqlite", "measured"}


def test_cache_that_is_empty_is_one_line(folder: Path, run: Cli) -> None:
    assert run("cache") == (0, f"{folder}: 0 bytes of at most 5 MB\n", "")
    assert json.loads(run("cache", "--json")[1])["entries"] == []
    assert run("cache", "clear") == (0, "cache: 0 bytes freed.\n", "")
    assert not folder.exists()


def test_clear_removes_rows_and_measurements_but_no_hashes(filled: Path, run: Cli) -> None:
    rows = 3 * 1024 + 88 + 4 + 24 + 88  # with 24 bytes of index for each row and 88 for each segment
    code, output, text = run("cache", "clear")
    assert (code, text) == (0, "")
    assert output == f"cache: {(rows + 2) / 1000:.3g} KB freed.\n"
    assert {path.name for path in filled.iterdir()} == {"hashes.sqlite", ".lock", "one"}


def test_clear_leaves_files_of_others_among_the_measurements(filled: Path, run: Cli) -> None:
    theirs = ["thesis.csv", "cpu.json", f"{DIGEST}.json.bak", f".{DIGEST}.json.ab_12345"]
    for name in theirs:
        (filled / "measured" / name).write_bytes(b"mine")
    assert cache.others()["measured"] == 2
    assert run("cache", "clear")[0] == 0
    assert sorted(path.name for path in (filled / "measured").iterdir()) == sorted(theirs), "one is being written just now"
    os.utime(filled / "measured" / theirs[3], (1e9, 1e9))
    run("cache", "clear")
    assert sorted(path.name for path in (filled / "measured").iterdir()) == sorted(theirs[:3])


@pytest.mark.parametrize("kind", Kind)
def test_clear_of_one_kind_leaves_the_other(kind: Kind, filled: Path, run: Cli) -> None:
    code, output, _ = run("cache", "clear", "--kind", kind)
    assert code == 0
    assert output.startswith(f"{kind}: ")
    assert [each.kind for each in cache.listing()] == [other for other in Kind if other != kind]
    assert (filled / "measured" / f"{DIGEST}.json").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["clear", "--kind", "networks"], "networks"), (["clean"], "clean"), (["--kind", "pictures"], "--kind")],
)
def test_wrong_usage_is_exit_2(arguments: list[str], word: str, run: Cli) -> None:
    code, output, text = run("cache", *arguments)
    assert (code, output) == (2, "")
    assert word in text
    assert "Traceback" not in text


@pytest.mark.parametrize("arguments", [["cache", "--help"], ["cache", "clear", "--help"]])
def test_verb_explains_itself(arguments: list[str], run: Cli) -> None:
    code, output, _ = run(*arguments)
    assert code == 0
    assert output.startswith("Usage: tlkit cache")


def test_limit_that_is_no_number_is_a_message(filled: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "20GB")
    code, output, text = run("cache")
    assert (code, output) == (1, "")
    assert text.startswith("TLKIT_CACHE_BYTES=20GB: is not a whole number of bytes.\n")


@pytest.mark.parametrize("arguments", [("cache",), ("cache", "--json"), ("cache", "clear")])
def test_file_where_the_folder_should_be_is_a_message(arguments: tuple[str, ...], folder: Path, run: Cli) -> None:
    folder.write_text("a file where the folder should be")
    advice = "  remove it, or set TLKIT_CACHE to another folder\n"
    assert run(*arguments) == (1, "", f"{folder}: is not a folder.\n{advice}")
    assert folder.read_text() == "a file where the folder should be"


def test_it_imports_no_torch(filled: Path) -> None:
    code = """
import sys
from tlkit import cli
for arguments in (["cache"], ["cache", "--json"], ["cache", "clear"]):
    sys.argv = ["tlkit", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code
print([name for name in ("torch", "torchvision", "scipy", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr

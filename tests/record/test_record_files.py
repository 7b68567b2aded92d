"""A damaged TOML file or archive of a run is an error of two kinds, whatever its library raises."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tlkit.errors import RunFolderError
from tlkit.record import findings, predictions, record_files, report_data, run_folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x = ", "Invalid value"),
        ("x = " + "{x = " * 2000, "nested too deeply"),
        ("x = " + "9" * 5000, "4300 digits"),
    ],
)
def test_damaged_toml_is_a_value_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "resolved.toml").write_text(content)
    with pytest.raises(ValueError, match=said):
        record_files.toml(tmp_path / "resolved.toml")
    with pytest.raises(RunFolderError, match=r"resolved\.toml: is damaged: .*" + said):
        run_folder.resolved(tmp_path)
    (tmp_path / "recipe.toml").write_text(content)
    assert run_folder.length(tmp_path) == "?"


def archive(path: Path) -> bytes:
    np.savez_compressed(path, about=np.arange(1000), names=np.array(["a" * 40] * 100))
    return path.read_bytes()


@pytest.mark.parametrize("how", ["data", "version", "method", "lzma", "size", "claim", "name", "array", "nothing"])
def test_a_damaged_archive_is_a_value_error(tmp_path: Path, how: str) -> None:
    path = tmp_path / "predictions.npz"
    content = bytearray(archive(path))
    with zipfile.ZipFile(path) as file:
        begin = file.infolist()[0].header_offset + 30 + len("about.npy") + 20  # after the header and its 64-bit sizes
    listed = content.index(b"PK\x01\x02")
    match how:
        case "data":
            content[begin + 5 : begin + 25] = bytes(range(100, 120))
        case "version":
            content[listed + 6 : listed + 8] = struct.pack("<H", 191)
        case "method":
            content[listed + 10 : listed + 12] = struct.pack("<H", 97)
        case "lzma":
            np.savez(path, about=np.full(5000, 0x0202))
            content = bytearray(path.read_bytes())
            begin = content.index(b"PK\x01\x02")
            content[begin + 10 : begin + 12] = struct.pack("<H", zipfile.ZIP_LZMA)
        case "size" | "claim":  # more numbers than can be counted, and 745 GiB
            header, shape = io.BytesIO(), (10 ** (30 if how == "size" else 11),)
            np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": shape})
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("about.npy", header.getvalue())
            content = bytearray(path.read_bytes())
        case "name":
            content[listed + 28 : listed + 30] = struct.pack("<H", 40_000)
        case "array":
            np.save(tmp_path / "a.npy", np.arange(3))
            content = bytearray((tmp_path / "a.npy").read_bytes())
        case _:
            content = bytearray()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught, record_files.arrays(path) as found:
        _ = [found[name] for name in ("about", "names")]
    assert len(str(caught.value)) < 400
    with pytest.raises(RunFolderError, match=r"predictions\.npz: is damaged: "):
        predictions.load(tmp_path)
    path.rename(tmp_path / report_data.FILE)
    assert report_data.load(tmp_path) is None


@pytest.mark.parametrize("about", ["[]", "3", "{"])
def test_an_archive_that_tells_of_no_table_is_passed_over(tmp_path: Path, about: str) -> None:
    for file, load in ((findings.FILE, findings.load), (report_data.FILE, report_data.load)):
        np.savez(tmp_path / file, about=np.array(about), thumbnails=np.zeros(1))
        assert load(tmp_path) is None

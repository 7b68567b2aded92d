"""Where data and weights are looked for, and downloads from a server on this machine: right, wrong, cut short, forbidden."""

import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_site
from toy_site import Site

from tlkit import file_digests
from tlkit.errors import DataError, DataMissing, PluginError, TlkitError, WeightsError, WeightsMissing
from tlkit.plugin import HUB, IMAGENET, Backbone, DataFiles, Dataset, Download, Images, Options, Split, Weights
from tlkit.sources import data_files, datasets, download, redirects, weight_files
from tlkit.sources.places import Places


@pytest.fixture
def site() -> Iterator[Site]:
    with toy_site.opened() as mine:
        yield mine


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def tar(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"inside/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


# download


def test_file_is_fetched_checked_and_said(site: Site, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = site.offer("a.bin", b"content")
    path = download.fetch(wanted, tmp_path / "new" / "folder", notify=said.append)
    assert path == tmp_path / "new" / "folder" / "a.bin"
    assert path.read_bytes() == b"content"
    assert everything(path.parent) == ["a.bin"]
    assert said == [f"downloading {site.address}/a.bin (not by https)"]


@pytest.mark.parametrize(
    ("checksum", "fits"),
    [
        (f"sha256:{hashlib.sha256(b'content').hexdigest()}", True),
        (f"sha256:{hashlib.sha256(b'content').hexdigest()[:8]}", True),
        (f"md5:{hashlib.md5(b'content').hexdigest()}", True),
        (f"md5:{hashlib.md5(b'other').hexdigest()}", False),
        (f"sha256:{hashlib.sha256(b'other').hexdigest()[:8]}", False),
        (f"sha256:{hashlib.md5(b'content').hexdigest()}", False),
    ],
)
def test_checksum_is_of_the_content_whole_or_its_first_digits(tmp_path: Path, checksum: str, fits: bool) -> None:
    (tmp_path / "f").write_bytes(b"content")
    assert download.checksum_fits(tmp_path / "f", checksum) is fits


def break_checksum(site: Site) -> Download:
    return site.offer("a.bin", b"content", checksum="sha256:00000000")


def break_length(site: Site) -> Download:
    site.short = 3
    return site.offer("a.bin", b"content")


def break_chunks(site: Site) -> Download:
    site.chunked = True
    return site.offer("a.bin", b"content" * 100)


def break_answer(site: Site) -> Download:
    site.broken = True
    return site.offer("a.bin", b"content")


def break_name(site: Site) -> Download:
    wanted = site.offer("a.bin", b"content")
    site.files.clear()
    return wanted


def break_port(site: Site) -> Download:
    return Download("http://127.0.0.1:9/a.bin", "sha256:00", "a.bin")


def break_address(site: Site) -> Download:
    return Download("no address at all", "sha256:00", "a.bin")


def break_archive(site: Site) -> Download:
    return site.offer("a.tar.gz", tar(one=b"1" * 5000)[:-30], archive=True)


def break_packing(site: Site) -> Download:
    packed = bytearray(tar(one=os.urandom(5000)))
    packed[100:120] = b"\xff" * 20
    return site.offer("a.tar.gz", bytes(packed), archive=True)


def break_kind(site: Site) -> Download:
    return site.offer("a.zip", b"no zip", archive=True)


BREAKS = [
    (break_checksum, "does not have the checksum"),
    (break_length, "a.bin"),
    (break_chunks, "cannot be downloaded"),
    (break_answer, "cannot be downloaded"),
    (break_name, "Not Found"),
    (break_port, "cannot be downloaded"),
    (break_address, "cannot be downloaded"),
    (break_archive, "cannot be unpacked"),
    (break_packing, "cannot be unpacked"),
    (break_kind, "cannot be unpacked"),
]


@pytest.mark.parametrize(("how", "words"), BREAKS, ids=[how.__name__ for how, _ in BREAKS])
def test_broken_download_is_a_message_and_leaves_nothing(how: Any, words: str, site: Site, tmp_path: Path) -> None:
    wanted = how(site)
    with pytest.raises(TlkitError, match=words) as caught:
        download.fetch(wanted, tmp_path / "new", notify=lambda _: None)
    assert wanted.url in str(caught.value) or wanted.filename in str(caught.value)
    assert everything(tmp_path) == []


def test_broken_download_leaves_what_was_there(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(TlkitError):
        download.fetch(break_checksum(site), tmp_path, notify=lambda _: None)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert everything(tmp_path) == ["a.bin"]


def test_archive_is_unpacked_and_not_kept(site: Site, tmp_path: Path) -> None:
    download.fetch(site.offer("a.tar.gz", tar(one=b"1", two=b"2"), archive=True), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == ["inside", "inside/one", "inside/two"]
    assert (tmp_path / "inside" / "two").read_bytes() == b"2"


def test_zip_is_unpacked(site: Site, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside/one", b"1")
    download.fetch(site.offer("a.zip", packed.getvalue(), archive=True), tmp_path, notify=lambda _: None)
    assert (tmp_path / "inside" / "one").read_bytes() == b"1"


def test_archive_fills_the_gaps_of_a_folder_and_keeps_what_is_there(site: Site, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "one").write_bytes(b"mine")
    download.fetch(site.offer("a.tar.gz", tar(one=b"1", two=b"2"), archive=True), tmp_path, notify=lambda _: None)
    assert (tmp_path / "inside" / "one").read_bytes() == b"mine"
    assert (tmp_path / "inside" / "two").read_bytes() == b"2"
    assert everything(tmp_path) == ["inside", "inside/one", "inside/two"]


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        inside = tarfile.TarInfo(name)
        inside.type, inside.linkname, inside.size = kind, link, 0 if kind != tarfile.REGTYPE else 1
        archive.addfile(inside, io.BytesIO(b"1"))
        if kind == tarfile.SYMTYPE:  # a file that would be written through the link
            through = tarfile.TarInfo(f"{name}/outside")
            through.size = 1
            archive.addfile(through, io.BytesIO(b"1"))
    return packed.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        member("../../outside"),
        member("inside/../../../outside"),
        member("link", kind=tarfile.SYMTYPE, link="../.."),
        member("link", kind=tarfile.SYMTYPE, link="/tmp"),
        member("link", kind=tarfile.LNKTYPE, link="../../there"),
        member("device", kind=tarfile.CHRTYPE),
        member("pipe", kind=tarfile.FIFOTYPE),
    ],
    ids=["above", "above from inside", "link above", "absolute link", "hard link", "device", "pipe"],
)
def test_archive_cannot_write_outside_its_folder(packed: bytes, site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be unpacked"):
        download.fetch(site.offer("a.tar.gz", packed, archive=True), tmp_path / "a" / "b", notify=lambda _: None)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["../outside", "/outside", "C:/outside"])
def test_names_that_lead_out_of_an_archive_are_unpacked_inside(name: str, site: Site, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"1")
    download.fetch(site.offer("a.zip", packed.getvalue(), archive=True), tmp_path / "a" / "b", notify=lambda _: None)
    assert [path for path in everything(tmp_path) if not path.startswith("a")] == []
    assert not Path("/outside").exists()


# downloads that do not go as they should


@pytest.mark.parametrize("ranges", [True, False])
def test_download_that_breaks_off_is_continued_where_the_server_can(ranges: bool, site: Site, tmp_path: Path) -> None:
    site.breaks, site.ranges = 2 if ranges else 1, ranges
    wanted = site.offer("a.bin", os.urandom(5000))
    path = download.fetch(wanted, tmp_path, notify=lambda _: None)
    assert path.read_bytes() == site.files["a.bin"]
    assert everything(tmp_path) == ["a.bin"]
    assert site.asked_from == ([None, "bytes=2500-", "bytes=3750-"] if ranges else [None, "bytes=2500-"])


def test_download_that_breaks_off_for_good_says_how_much_came(site: Site, tmp_path: Path) -> None:
    site.breaks, site.ranges = 99, True
    with pytest.raises(TlkitError, match="broke off after 4,843 bytes: 5,000 bytes were announced"):
        download.fetch(site.offer("a.bin", os.urandom(5000)), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


def test_part_that_was_not_asked_for_is_not_taken(site: Site, tmp_path: Path) -> None:
    site.breaks, site.ranges, site.shifted = 1, True, 7
    with pytest.raises(TlkitError, match="another part of the file"):
        download.fetch(site.offer("a.bin", os.urandom(5000)), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


def test_web_page_instead_of_the_file_is_called_one(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", b"content")
    site.files["a.bin"] = b"\n<!DOCTYPE html><title>Log in</title>"
    with pytest.raises(TlkitError, match="a web page came instead of the file"):
        download.fetch(wanted, tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


def test_answer_without_an_end_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_MOST", 100_000)
    site.endless = True
    with pytest.raises(TlkitError, match="more than 100,000 bytes came"):
        download.fetch(site.offer("a.bin", b"x" * 4096), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


def test_answer_that_is_too_slow_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    monkeypatch.setattr(download, "_SLOWEST", 10**9)
    monkeypatch.setattr(download, "_TRIES", 1)
    site.endless = True
    with pytest.raises(TlkitError, match=r"bytes came in 0\.2 s"):
        download.fetch(site.offer("a.bin", b"x" * 4096), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


def test_silent_server_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    site.silent = 1.0
    with pytest.raises(TlkitError, match="cannot be downloaded: timed out"):
        download.fetch(site.offer("a.bin", b"content"), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/elsewhere"])
def test_redirect_to_another_scheme_is_not_followed(target: str, site: Site, tmp_path: Path) -> None:
    site.redirect = target
    with pytest.raises(TlkitError, match="cannot be downloaded"):
        download.fetch(site.offer("a.bin", b"content"), tmp_path, notify=lambda _: None)
    assert everything(tmp_path) == []


def test_redirect_from_https_to_http_is_not_followed() -> None:
    asked = urllib.request.Request("https://a.example/x")
    with pytest.raises(urllib.error.URLError, match="redirects from https to http:"):
        redirects._Followed("a.example", "").redirect_request(
            asked, io.BytesIO(), 302, "Found", Message(), "http://b.example/x"
        )


def test_redirect_to_another_host_is_followed_and_the_checksum_decides(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", b"content")
    site.redirect = f"{site.address.replace('127.0.0.1', 'localhost')}/elsewhere.bin"
    site.files["elsewhere.bin"] = b"other"
    with pytest.raises(TlkitError, match="does not have the checksum"):
        download.fetch(wanted, tmp_path, notify=lambda _: None)
    site.files["elsewhere.bin"] = b"content"
    assert download.fetch(wanted, tmp_path, notify=lambda _: None).read_bytes() == b"content"


def test_files_of_this_machine_are_no_addresses(tmp_path: Path) -> None:
    with pytest.raises(TlkitError, match="only addresses of http and https"):
        download.fetch(Download("file:///etc/passwd", "sha256:00", "a.bin"), tmp_path, notify=lambda _: None)


def test_interrupted_download_leaves_nothing(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(site.offer("a.bin", b"content"), tmp_path / "new", notify=lambda _: None)
    assert everything(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "checksum", "said"),
    [
        ("https://a/b", f"sha256:{'0' * 64}", ""),
        ("http://a/b", f"sha256:{'0' * 64}", " (not by https)"),
        ("https://a/b", "sha256:f37072fd", " (checked by 8 digits of its sha256 alone)"),
        ("http://a/b", f"md5:{'0' * 32}", " (not by https, checked by md5 alone)"),
        ("https://huggingface.co/a", HUB, " (its sha256 is the one that the hub names)"),
    ],
)
def test_what_a_download_is_checked_by_is_said(url: str, checksum: str, said: str) -> None:
    assert download._trust(Download(url, checksum, "b")) == said


# data


class PathOptions(Options):
    path: str | None = None


def dataset(**changes: Any) -> Dataset:
    return Dataset(**{"read": "nowhere:read", "files": ("one", "two"), "subfolder": "inside"} | changes)


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("one", "two"):
        (folder / name).write_bytes(name.encode())
    return folder


def find(wanted: Dataset, options: Options | None = None, *, fetch: bool = False, **places: Any) -> DataFiles:
    return data_files.find_data("set", wanted, options, Places(**places), fetch=fetch)


def test_data_made_from_options_need_no_folder() -> None:
    assert find(Dataset(read="x:y")) == DataFiles(Path(), ())


@pytest.mark.parametrize("below", ["", "inside", "set", "set/inside"])
def test_files_are_found_in_the_folder_or_below_it(below: str, tmp_path: Path) -> None:
    root = put(tmp_path / below)
    found = find(dataset(), data=tmp_path)
    assert found == DataFiles(root, (root / "one", root / "two"))


def test_data_option_is_before_the_path_and_the_path_before_the_variable_and_that_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, path, variable, cache = (tmp_path / name for name in ("named", "path", "variable", "cache"))
    monkeypatch.setenv("HOME", str(cache))
    for folder in (named, path, variable / "set", cache / ".cache" / "tlkit" / "data" / "set"):
        put(folder)
    monkeypatch.setenv("TLKIT_DATA", str(variable))
    options = PathOptions(path="path")
    assert find(dataset(), options, data=named, recipe=tmp_path).root == named
    assert find(dataset(), options, recipe=tmp_path).root == path
    assert find(dataset(), PathOptions(), recipe=tmp_path).root == variable / "set"
    monkeypatch.delenv("TLKIT_DATA")
    assert find(dataset()).root == cache / ".cache" / "tlkit" / "data" / "set"


def test_cache_is_looked_in_where_the_variable_names_a_folder_without_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "empty"))
    root = put(Path.home() / ".cache" / "tlkit" / "data" / "set" / "inside")
    assert find(dataset()).root == root


def test_missing_data_name_every_folder_that_was_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path))
    put(tmp_path, "one")
    with pytest.raises(DataMissing) as caught:
        find(dataset())
    said = str(caught.value)
    assert said.startswith('data.name: "set" is not on this machine: two not found.')
    home = Path.home() / ".cache" / "tlkit" / "data"
    for base in (tmp_path, home):
        for folder in (base, base / "inside", base / "set", base / "set" / "inside"):
            assert f"looked in {folder}\n" in said
    assert "data=" in said
    assert 'settings=["data.name=synthetic"]' in said
    with pytest.raises(DataMissing) as caught:  # by a command that takes no settings
        find(dataset(), settings=False)
    assert "synthetic" not in str(caught.value)
    assert "could not download" not in said


def test_where_data_are_named_no_other_folder_is_looked_in(tmp_path: Path) -> None:
    put(Path.home() / ".cache" / "tlkit" / "data" / "set")
    with pytest.raises(DataMissing) as caught:
        find(dataset(), data=tmp_path / "named")
    assert str(Path.home()) not in str(caught.value)


def test_missing_data_are_downloaded_once(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path))
    wanted = dataset(downloads=(site.offer("a.tar.gz", tar(one=b"1", two=b"2"), archive=True),))
    assert find(wanted, fetch=True).root == tmp_path / "set" / "inside"
    assert find(wanted, fetch=True).root == tmp_path / "set" / "inside"
    assert site.asked == ["a.tar.gz"]


def test_only_what_is_missing_is_downloaded(site: Site, tmp_path: Path) -> None:
    put(tmp_path / "set", "one")
    wanted = dataset(downloads=tuple(site.offer(name, name.encode()) for name in ("one", "two")))
    assert find(wanted, fetch=True, data=tmp_path).root == tmp_path / "set"
    assert site.asked == ["two"]


def test_data_are_downloaded_to_the_folder_that_the_recipe_names(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    wanted = dataset(downloads=(site.offer("a.tar.gz", tar(one=b"1", two=b"2"), archive=True),))
    found = find(wanted, PathOptions(path="mine"), fetch=True, recipe=tmp_path)
    assert found.root == tmp_path / "mine" / "set" / "inside"


def test_offline_forbids_the_download_and_says_so(site: Site, tmp_path: Path) -> None:
    wanted = dataset(downloads=(site.offer("one", b"1"),))
    with pytest.raises(DataMissing, match=f"offline=True forbids {site.address}/one"):
        find(wanted, fetch=True, offline=True, data=tmp_path)
    assert site.asked == []
    assert everything(tmp_path) == []


def test_failed_download_says_why_beside_where_was_looked(site: Site, tmp_path: Path) -> None:
    wanted = dataset(downloads=(break_name(site),))
    with pytest.raises(DataMissing, match=r"could not download it: .*Not Found") as caught:
        find(wanted, fetch=True, data=tmp_path)
    assert f"looked in {tmp_path}\n" in str(caught.value)


def test_folder_that_cannot_be_written_is_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wanted = dataset(downloads=(site.offer("one", b"1"),))
    with pytest.raises(DataMissing, match=r"could not download it: .*file"):
        find(wanted, fetch=True, data=tmp_path / "file")


def test_set_without_an_address_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="no address to download from"):
        find(dataset(), fetch=True, data=tmp_path)


def test_set_that_is_shipped_is_found_in_its_package() -> None:
    import tlkit_fashion_mnist

    found = data_files.find_data("m", tlkit_fashion_mnist.fashion_mnist_mini, None, Places(data=Path("/nowhere")), fetch=False)
    assert found.root == Path(tlkit_fashion_mnist.__file__).parent


def test_set_that_is_shipped_in_a_package_that_is_not_there_is_missing() -> None:
    with pytest.raises(DataMissing, match="one, two not found"):
        find(dataset(inside="no_such_package_at_all"))


def test_folders_of_images_must_be_named(tmp_path: Path) -> None:
    wanted = Dataset(read="tlkit_folder.read:read", find="tlkit_folder.read:find", options=PathOptions)
    with pytest.raises(DataMissing, match=r"data\.options\.path: is missing") as caught:
        find(wanted, PathOptions())
    assert 'data="images"' in str(caught.value)
    with pytest.raises(DataMissing, match="nowhere: there is no such folder"):
        find(wanted, PathOptions(path="nowhere"), recipe=tmp_path)


# reading


def images(labels: list[int], count: int = 3, classes: int = 2) -> Images:
    pixels = np.zeros((count, 4, 4, 3), np.uint8)
    return Images(tuple(map(str, range(classes))), {"train": Split(targets=np.array(labels, np.int64), pixels=pixels)})


def read_right(found: DataFiles, options: object) -> Images:
    return images([0, 1, 1])


def read_short(found: DataFiles, options: object) -> Images:
    return images([0, 1])


def read_nothing(found: DataFiles, options: object) -> Images:
    return images([], 0)


def read_beyond(found: DataFiles, options: object) -> Images:
    return images([0, 1, 2])


def read_below(found: DataFiles, options: object) -> Images:
    return images([0, -1, 1])


def read_else(found: DataFiles, options: object) -> object:
    return {"train": 3}


def read_gone(found: DataFiles, options: object) -> Images:
    raise FileNotFoundError(2, "No such file or directory", "gone.png")


def read_bug(found: DataFiles, options: object) -> Images:
    raise AttributeError("a mistake of the plugin's own")


def read_exits(found: DataFiles, options: object) -> Images:
    raise SystemExit(0)


def read_mute(found: DataFiles, options: object) -> Images:
    raise Mute


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def read(name: str) -> Images:
    return datasets.read_data(Dataset(read=f"{__name__}:{name}"), DataFiles(Path("root"), ()), None)


def test_what_a_plugin_reads_is_handed_on() -> None:
    assert read("read_right").splits["train"].targets.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("read_short", DataError, "root: train: 3 images and 2 targets"),
        ("read_nothing", DataError, "root: train: 0 images and 0 targets"),
        ("read_beyond", DataError, "root: train: label 2 is out of range"),
        ("read_below", DataError, "root: train: label -1 is out of range"),
        ("read_else", PluginError, "gave dict, not tlkit.plugin.Images"),
        ("read_gone", DataError, "gone.png: cannot be read: No such file"),
        ("read_bug", PluginError, "failed: AttributeError: a mistake of the plugin's own"),
        ("read_exits", PluginError, "read_exits: failed: SystemExit: 0."),
        ("read_mute", PluginError, "read_mute: failed: Mute."),
        ("read_missing", PluginError, "cannot be loaded: AttributeError"),
    ],
)
def test_what_is_wrong_with_images_is_said(name: str, kind: type[TlkitError], words: str) -> None:
    with pytest.raises(kind) as caught:
        read(name)
    assert words in str(caught.value)


def test_content_of_named_files_is_their_bytes_and_of_folders_their_names_too(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a", "one"), put(tmp_path / "b", "two")
    (two / "two").write_bytes(b"one")
    plain, folder = Dataset(read="x:y", files=("f",)), Dataset(read="x:y", find="x:z")
    founds = [DataFiles(one, (one / "one",)), DataFiles(two, (two / "two",))]
    assert len({data_files.data_content(plain, found) for found in founds}) == 1
    assert len({data_files.data_content(folder, found) for found in founds}) == 2
    assert data_files.data_content(plain, DataFiles(Path(), ())) == ""


# weights


def backbone(source: Download | str | None = None) -> Backbone:
    weights = {"trained": Weights(source=source, input=IMAGENET)} if source is not None else {}
    return Backbone(build="x:y", stages={"a": ("a",)}, features=1, classifier="fc", weights=weights)


def weights(value: str, source: Download | str | None = None, *, fetch: bool = False, **places: Any) -> Path | None:
    return weight_files.find_weights(value, "net", backbone(source), Places(**places), fetch=fetch, run=lambda path: path / "w")


FILE = Download(url="http://127.0.0.1:9/w.pth", checksum=f"sha256:{hashlib.sha256(b'w').hexdigest()[:8]}", filename="w.pth")


def test_none_is_no_file() -> None:
    assert weights("none", FILE) is None


def test_run_is_asked_for_its_weights_from_the_recipes_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert weights("run:runs", recipe=tmp_path) == tmp_path / "runs" / "w"


def test_file_is_found_beside_the_recipe_or_else_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = put(tmp_path / "home", "both"), put(tmp_path / "here", "both", "only")
    monkeypatch.chdir(here)
    assert weights("both", recipe=home) == home / "both"
    assert weights("only", recipe=home) == Path("only")
    assert weights(str(here / "only"), recipe=home) == here / "only"


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    put(Path.home(), "w.pth")
    assert weights("~/w.pth") == Path.home() / "w.pth"


@pytest.mark.parametrize("value", ["trainde", "no/such.pth", "~nobody_at_all/w.pth", "x" * 5000, "a\0b", ""])
def test_what_is_neither_a_name_nor_a_file_is_said(value: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such file") as caught:
        weights(value, FILE, recipe=tmp_path)
    assert "one of: trained, none, a file" in str(caught.value)
    if value == "trainde":
        assert 'did you mean "trained"?' in str(caught.value)
    if value == "no/such.pth":
        assert f"looked for {tmp_path / value}" in str(caught.value)


def test_a_folder_as_weights_is_offered_as_a_run(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(WeightsError, match='"saved" is a folder, not a file') as caught:
        weights("saved", FILE, recipe=tmp_path)
    assert 'weights = "run:saved"' in str(caught.value)


def folders() -> list[Path]:
    """Where weights may lie, the first looked in first."""
    home = Path.home() / ".cache"
    return [Path(os.environ["TLKIT_WEIGHTS"]), home / "tlkit" / "weights", home / "torch" / "hub" / "checkpoints"]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_named_weights_are_found_in_every_folder(which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path))
    (put(folders()[which], "w.pth") / "w.pth").write_bytes(b"w")
    assert weights("trained", FILE) == folders()[which] / "w.pth"


def test_folder_of_the_variable_is_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path))
    for folder in folders():
        (put(folder, "w.pth") / "w.pth").write_bytes(b"w")
    assert weights("trained", FILE) == tmp_path / "w.pth"


@pytest.mark.parametrize("variable", ["TLKIT_WEIGHTS", "TORCH_HOME"])
def test_folder_of_weights_may_begin_at_home(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "~/mine")
    folder = Path.home() / "mine" / ("hub/checkpoints" if variable == "TORCH_HOME" else "")
    (put(folder, "w.pth") / "w.pth").write_bytes(b"w")
    assert weights("trained", FILE) == folder / "w.pth"


def test_torch_home_is_torchs_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (put(tmp_path / "hub" / "checkpoints", "w.pth") / "w.pth").write_bytes(b"w")
    assert weights("trained", FILE) == tmp_path / "hub" / "checkpoints" / "w.pth"


def test_missing_weights_name_every_folder_and_what_would_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing) as caught:
        weights("trained", FILE, offline=True, fetch=True)
    said = str(caught.value)
    assert said.startswith('backbone.weights: "trained" of net is not on this machine: w.pth not found.')
    assert all(f"looked in {folder}\n" in said for folder in folders())
    assert f"offline=True forbids {FILE.url}" in said
    assert f"put w.pth from {FILE.url} into {tmp_path}" in said
    assert "backbone.weights=none" in said
    with pytest.raises(WeightsMissing) as caught:  # of a command that takes no settings
        weights("trained", FILE, offline=True, fetch=True, settings=False)
    assert "to try the recipe" not in str(caught.value)


def test_weights_of_another_content_are_refused_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path))
    put(tmp_path, "w.pth")
    with pytest.raises(WeightsError, match="does not have the checksum") as caught:
        weights("trained", FILE)
    assert str(tmp_path / "w.pth") in str(caught.value)
    assert (tmp_path / "w.pth").read_bytes() == b"w.pth"


def test_weights_that_many_arms_begin_from_are_read_once_for_their_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(file_digests, "_RACY", 0)
    read, sha256 = [], file_digests.sha256
    monkeypatch.setattr(file_digests, "sha256", lambda path: read.append(path) or sha256(path))
    (tmp_path / "w.pth").write_bytes(b"w")
    for _ in range(3):
        path = weights("trained", FILE)
        assert path is not None
        assert file_digests.content([path])  # what the digest of an arm takes
    assert read == [tmp_path / "w.pth"]
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match="does not have the checksum"):
        weights("trained", FILE)


def test_weights_are_downloaded_once_to_the_cache(site: Site) -> None:
    wanted = site.offer("w.pth", b"w")
    path = Path.home() / ".cache" / "tlkit" / "weights" / "w.pth"
    assert weights("trained", wanted, fetch=True) == path
    assert weights("trained", wanted, fetch=True) == path
    assert site.asked == ["w.pth"]


def test_weights_that_cannot_be_downloaded_say_why(site: Site) -> None:
    with pytest.raises(WeightsMissing, match=r"could not download it: .*does not have the checksum") as caught:
        weights("trained", break_checksum(site), fetch=True)
    assert "a.bin" in str(caught.value)
    assert not (Path.home() / ".cache" / "tlkit").exists()


def test_weights_of_an_installed_package_are_found_in_it() -> None:
    path = weights("trained", "package:pydantic:pydantic/py.typed")
    assert path.name == "py.typed"
    assert path.is_file()


def test_weights_of_a_package_that_is_not_installed_say_what_to_install() -> None:
    with pytest.raises(WeightsMissing, match="pip install no-such-package-at-all"):
        weights("trained", "package:no-such-package-at-all:w.pth")


def test_weights_missing_from_their_package_say_how_to_mend_it() -> None:
    with pytest.raises(WeightsMissing, match=r"(?s)no_such\.pth: is missing.*pip install --force-reinstall pydantic"):
        weights("trained", "package:pydantic:pydantic/no_such.pth")

"""Downloads of weights, of a data set and from the model hub that do not go as they should: stopped, killed, slow, redirected, another content."""

import contextlib
import gc
import hashlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_site
from conftest import Cli, served
from toy_site import Site

from tlkit.errors import DataMissing, TlkitError, WeightsMissing
from tlkit.plugin import HUB, HUB_SITE, IMAGENET, Backbone, Dataset, Weights
from tlkit.sources import data_files, download, parts, redirects, weight_files
from tlkit.sources.places import Places
from tlkit_shards import places

CONTENT = os.urandom(400_000)
Way = Callable[[Site, Places], Path]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(parts, "_WORTH", 1000)
    with toy_site.opened() as mine:
        mine.ranges = True
        yield mine


def weights(site: Site, places: Places) -> Path:
    return _weights(Weights(source=site.offer("a.bin", CONTENT), input=IMAGENET), places)


def data(site: Site, places: Places) -> Path:
    wanted = Dataset(read="nowhere:read", files=("a.bin",), downloads=(site.offer("a.bin", CONTENT),))
    return data_files.find_data("photos", wanted, None, places, fetch=True).files[0]


def hub(site: Site, places: Places) -> Path:
    wanted = replace(site.offer("timm/a/resolve/main/a.bin", CONTENT), filename="a.bin", checksum=HUB)
    site.etag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", site.address)
        return _weights(Weights(source=replace(wanted, url=wanted.url.replace(site.address, HUB_SITE)), input=IMAGENET), places)


def _weights(wanted: Weights, places: Places) -> Path:
    backbone = Backbone(build="a:b", stages={"body": ("conv",)}, features=8, classifier="fc", weights={"a": wanted})
    return weight_files.find_weights("a", "tiny", backbone, places, fetch=True, run=lambda path: path)


locking = pytest.mark.skipif(sys.platform == "win32", reason="needs locks of fcntl")
ways = pytest.mark.parametrize("way", [weights, data, hub])


def left() -> list[Path]:
    return [path for path in (Path.home() / ".cache").rglob("*") if path.is_file()]


@ways
def test_download_that_breaks_off_goes_on(way: Way, site: Site) -> None:
    site.breaks = 2
    assert way(site, Places()).read_bytes() == CONTENT
    assert site.asked_from == [None, "bytes=200000-", "bytes=300000-"]
    assert [path.name for path in left()] == ["a.bin"]


@ways
def test_stopped_download_says_what_came_and_the_next_one_goes_on_from_there(way: Way, site: Site) -> None:
    said: list[str] = []

    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        way(site, Places(notify=said.append, watch=stopped))
    (part,) = left()
    came = part.stat().st_size
    assert 0 < came < len(CONTENT)
    assert said[-1].startswith(f"stopped: {came:,} bytes of http")
    assert said[-1].endswith(" are kept, and the next download goes on from there.")
    assert way(site, Places(notify=said.append)).read_bytes() == CONTENT
    assert site.asked_from == [None, f"bytes={came - 1 if way is hub else came}-"]
    assert "goes on after the" in said[-1]
    assert [path.name for path in left()] == ["a.bin"]


@ways
def test_web_page_in_the_place_of_a_file_is_called_one(way: Way, site: Site) -> None:
    site.page = True
    with pytest.raises((WeightsMissing, DataMissing), match="a web page came instead of the file"):
        way(site, Places())
    assert left() == []


@ways
def test_answer_without_an_end_is_given_up(way: Way, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_MOST", 1_000_000)
    monkeypatch.setattr(parts, "_WORTH", 10**9)
    site.endless = True
    with pytest.raises((WeightsMissing, DataMissing), match="more than 1,000,000 bytes came"):
        way(site, Places())
    assert left() == []


@ways
def test_slow_and_silent_answers_are_given_up(way: Way, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TRIES", 1)
    monkeypatch.setattr(parts, "_WORTH", 10**9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_SLOWEST", 10**12)
        patch.setattr(download, "time", SimpleNamespace(monotonic=itertools.count(step=100).__next__))
        site.endless = True
        with pytest.raises((WeightsMissing, DataMissing), match="bytes came in 60 s"):
            way(site, Places())
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    site.endless, site.silent = False, 5.0
    with pytest.raises((WeightsMissing, DataMissing), match="timed out"):
        way(site, Places())
    assert left() == []


@ways
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX-Long: "])
def test_headers_that_come_byte_by_byte_without_end_are_given_up(
    way: Way, begin: bytes, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
    monkeypatch.setattr(download, "_TRIES", 1)
    site.dripping = begin or b"H"
    began = time.monotonic()
    with pytest.raises((WeightsMissing, DataMissing), match="its headers did not end in 1 s"):
        way(site, Places())
    assert time.monotonic() - began < 10
    gc.collect()  # a socket that is left open is a warning, and that an error
    assert left() == []


def test_headers_of_a_proxy_and_answers_before_the_answer_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(BaseHTTPRequestHandler):
        def pour(self, begin: bytes, more: bytes) -> None:
            with contextlib.suppress(OSError):  # the other end goes away
                self.wfile.write(begin)
                while True:
                    self.wfile.write(more)

        def do_CONNECT(self) -> None:  # http.server's name
            self.pour(b"HTTP/1.0 200 OK\r\n", b"x: y\r\n" * 1000)

        def do_GET(self) -> None:
            self.pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500)

        def log_message(self, *_: object) -> None: ...

    with served(Endless) as address:
        monkeypatch.setenv("https_proxy", address)
        for url in (f"{address}/a.bin", "https://example.invalid/a.bin"):
            with pytest.raises(OSError, match=r"its headers did not end in 1,\d{3},\d{3} bytes"):
                redirects.open_(url, headers={}, timeout=30)


def test_proxy_that_an_address_goes_through_is_named_without_its_password(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    there = "http://example.invalid/a.bin"
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("http_proxy", site.address.replace("//", "//me:secret@"))
    wanted = Weights(source=replace(site.offer("a.bin", CONTENT), url=there), input=IMAGENET)
    with pytest.raises(WeightsMissing) as caught:  # the proxy has no such file
        _weights(wanted, Places())
    host = site.address.removeprefix("http://")
    assert f"{there}: cannot be downloaded through the proxy {host}: Not Found." in str(caught.value)
    assert "secret" not in str(caught.value)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(WeightsMissing, match=r"through the proxy 127\.0\.0\.1:\d+: Connection refused\."):
            _weights(wanted, Places())
    monkeypatch.setenv("http_proxy", site.address)
    site.files[there] = CONTENT
    assert _weights(wanted, Places()).read_bytes() == CONTENT
    pytest.importorskip("aiohttp")
    assert places.system(there).cat_file(there) == CONTENT


def test_slow_proxy_leaves_the_connection_its_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirects, "_WAITS", 0.5)
    mine, proxy = socket.socketpair()
    with mine, proxy:
        mine.settimeout(30)
        proxy.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        answer = redirects._Answer(mine)
        answer._read_status()
        assert mine.gettimeout() <= 15
        answer.close()
        assert mine.gettimeout() == 30


def test_body_of_a_redirect_is_not_waited_for(site: Site) -> None:
    site.files["b.bin"] = b"whole"
    with toy_site.opened() as other:
        other.dripping = f"HTTP/1.1 302 Found\r\nLocation: {site.address}/b.bin\r\n\r\n".encode()
        answer, _ = redirects.open_(f"{other.address}/a.bin", headers={}, timeout=5)
    with answer:
        assert answer.read() == b"whole"


def test_only_headers_have_to_end_within_a_time(site: Site) -> None:
    site.endless = True
    site.files["a.bin"] = b"x" * 1000
    answer, _ = redirects.open_(f"{site.address}/a.bin", headers={}, timeout=0.2)
    began = time.monotonic()
    with answer:
        while time.monotonic() - began < 1.0:
            assert answer.read1(1000)


@ways
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_redirect_to_another_scheme_is_not_followed(way: Way, target: str, site: Site) -> None:
    site.redirect = target
    with pytest.raises((WeightsMissing, DataMissing), match="could not download it") as caught:
        way(site, Places())
    assert "redirect" in str(caught.value).lower() or "scheme" in str(caught.value).lower()
    assert left() == []


@ways
def test_bytes_of_a_file_that_changed_on_the_server_are_dropped(way: Way, site: Site) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        way(site, Places(watch=stopped))
    (part,) = left()
    part.write_bytes(b"x" * 5000)
    assert way(site, Places()).read_bytes() == CONTENT
    assert site.asked_from[1:] == ["bytes=4999-" if way is hub else "bytes=5000-", None]


def test_more_bytes_than_the_server_has_are_dropped(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    with contextlib.suppress(ZeroDivisionError), parts.held(tmp_path, wanted) as part:
        part.path.write_bytes(CONTENT + b"more")
        raise ZeroDivisionError
    assert download.fetch(wanted, tmp_path, notify=lambda _: None).read_bytes() == CONTENT


def test_whole_bytes_are_not_requested_again(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    with parts.held(tmp_path, wanted) as part:
        part.path.write_bytes(CONTENT)
    assert download.fetch(wanted, tmp_path, notify=lambda _: None).read_bytes() == CONTENT
    assert site.asked == []


def test_web_page_does_not_cost_what_came_before(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    with parts.held(tmp_path, wanted) as part:
        part.path.write_bytes(CONTENT[:5000])
    site.page = True
    with pytest.raises(TlkitError, match="a web page came"):
        download.fetch(wanted, tmp_path, notify=lambda _: None)
    site.page = False
    assert download.fetch(wanted, tmp_path, notify=lambda _: None).read_bytes() == CONTENT
    assert site.asked_from == ["bytes=5000-", "bytes=5000-"]


@locking
def test_whole_file_of_the_hub_whose_process_was_killed_is_not_downloaded_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_move_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            hub(site, Places())
    assert hub(site, Places()).read_bytes() == CONTENT
    assert site.asked_from == [None, f"bytes={len(CONTENT) - 1}-"], "one byte, with which its checksum comes"


@locking
def test_archive_whose_files_were_not_all_moved_is_not_downloaded_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / name).write_bytes(CONTENT)
    packed = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "in")).read_bytes()
    wanted = site.offer("a.zip", packed, archive=True)
    real, moved = download._move_in, list[Path]()

    def killed(entry: Path, place: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(entry)
        real(entry, place)

    with monkeypatch.context() as patch:
        patch.setattr(download, "_move_in", killed)
        with pytest.raises(KeyboardInterrupt):
            download.fetch(wanted, tmp_path / "out", notify=lambda _: None)
    download.fetch(wanted, tmp_path / "out", notify=lambda _: None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one", "two"]
    assert site.asked == ["a.zip"]


@locking
def test_part_that_another_process_began_meanwhile_stays(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    with parts.held(tmp_path, wanted) as part:
        os.replace(part.path, tmp_path / "a.bin")
        other = parts.held(tmp_path, wanted)
        begun = other.__enter__()
        assert begun.lasting
    assert begun.path.exists()
    other.__exit__(None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@locking
def test_server_that_refuses_is_not_said_to_have_broken_off(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    with parts.held(tmp_path, wanted) as part:
        part.path.write_bytes(CONTENT[:5000])
    del site.files["a.bin"]
    with pytest.raises(TlkitError, match="cannot be downloaded: Not Found") as caught:
        download.fetch(wanted, tmp_path, notify=lambda _: None)
    assert "are kept" in str(caught.value)


@locking
def test_two_downloads_of_one_file_do_not_share_a_part(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    with parts.held(tmp_path, wanted) as part:
        part.path.write_bytes(b"of another process")
        assert download.fetch(wanted, tmp_path, notify=lambda _: None).read_bytes() == CONTENT
        assert part.path.read_bytes() == b"of another process"


def test_how_much_came_is_said_now_and_then(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(download, "_OFTEN", -1)
    download.fetch(site.offer("a.bin", CONTENT), tmp_path, notify=said.append)
    assert said[-1] == "downloading a.bin: 400 KB of 400 KB (100%)"


@pytest.mark.parametrize("stopped", [False, True])
def test_bar_takes_the_place_of_lines_and_goes_when_a_download_ends(
    stopped: bool, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    shown: list[tuple[str, int, int | None]] = []

    def show(name: str, came: int, whole: int | None) -> bool:
        shown.append((name, came, whole))
        if stopped:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(download, "_OFTEN", -1)
    places = Places(notify=said.append, show=show)
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            data(site, places)
        assert [whole for _, _, whole in shown[:1]] == [len(CONTENT)]
    else:
        weights(site, places)
        assert not [line for line in said if line.startswith("downloading a.bin:")]
    assert {name for name, _, _ in shown} == {"a.bin"}
    assert shown[-1][1] == shown[-1][2]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, which says what an open file is called")
@pytest.mark.parametrize("archive", [False, True])
def test_downloaded_files_are_on_the_disk_before_they_have_their_names(
    archive: bool, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure what has the name is whole."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(CONTENT)
    packed = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "in")).read_bytes()
    wanted = site.offer("a.zip", packed, archive=archive)
    calls: list[tuple[str, Path]] = []
    fsync, sync, replace_ = os.fsync, os.sync, os.replace

    def synced(handle: int) -> None:
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        calls.append(("rename", Path(source)))
        replace_(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "sync", lambda: (calls.append(("sync", Path("/"))), sync()))
    monkeypatch.setattr(os, "replace", renamed)
    download.fetch(wanted, tmp_path / "out", notify=lambda _: None)
    (at,) = [number for number, (what, _) in enumerate(calls) if what == "rename"]
    content, folder = calls[at][1], tmp_path / "out"
    assert ("sync", Path("/") if archive else content) in calls[:at]
    assert ("sync", folder) in calls[at:]
    assert (folder / ("one" if archive else "a.zip")).read_bytes() == (CONTENT if archive else packed)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_download_is_continued_and_nothing_of_it_is_left(site: Site, tmp_path: Path) -> None:
    wanted = site.offer("a.bin", CONTENT)
    code = (
        "import os, signal, sys; from pathlib import Path; from tlkit.plugin import Download; from tlkit.sources import download\n"
        "def kill(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "download.fetch(Download(*sys.argv[1:4]), Path(sys.argv[4]), notify=print, watch=kill)"
    )
    command = [sys.executable, "-c", code, wanted.url, wanted.checksum, wanted.filename, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    (part,) = tmp_path.iterdir()
    came = part.stat().st_size  # what the file held in memory alone is lost
    assert download.fetch(wanted, tmp_path, notify=lambda _: None).read_bytes() == CONTENT
    assert site.asked_from == [None, f"bytes={came}-" if came else None]
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_ctrl_c_says_what_was_stopped(run: Cli, toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(redirects, "open_", stopped)
    settings = ("backbone.name=resnet18", "backbone.weights=imagenet1k-v1", "data.image_size=32")
    code, _, said = run("apply", toy_recipe, *(part for each in settings for part in ("--set", each)))
    assert code == 130
    assert "stopped: 0 bytes of https://download.pytorch.org/models/resnet18-f37072fd.pth came." in said
    assert said.endswith("\nstopped by SIGINT.\n")

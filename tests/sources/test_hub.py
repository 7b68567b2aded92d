"""Weights from the model hub, from a server on this machine that answers as the hub does: a redirect that names the sha256."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from conftest import served

from tlkit.errors import WeightsMissing
from tlkit.plugin import HUB, IMAGENET, Backbone, Download, Weights
from tlkit.sources import weight_files
from tlkit.sources.places import Places

CONTENT = b"tensors " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SOURCE = Download("https://huggingface.co/timm/tiny.a1/resolve/main/model.safetensors", HUB, "tiny.a1.safetensors")


class Hub:
    """What the server sends, and what was asked of it."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = f'"{SHA256}"'
        self.asked: list[str] = []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for variable in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    mine = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mine.asked.append(self.path)
            if self.path.startswith("/timm/"):
                self.send_response(302)
                self.send_header("Location", "/storage?signed=yes")
                if mine.etag:
                    self.send_header("X-Linked-Etag", mine.etag)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", '"of the storage"')
            self.send_header("Content-Length", str(len(mine.content)))
            self.end_headers()
            self.wfile.write(mine.content)

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as address:
        monkeypatch.setenv("HF_ENDPOINT", f"{address}/")
        yield mine


def found(*, offline: bool = False) -> Path | None:
    backbone = Backbone(
        build="tiny:stages", stages={"body": ("conv",)}, features=8, classifier="fc",
        weights={"a1": Weights(source=SOURCE, input=IMAGENET)},
    )  # fmt: skip
    return weight_files.find_weights("a1", "tiny", backbone, Places(offline=offline), fetch=True, run=lambda path: path)


def in_the_hubs_cache(folder: Path) -> Path:
    """Put the file where huggingface_hub keeps it."""
    repository = folder / "models--timm--tiny.a1"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    path = repository / "snapshots" / "0123abc" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


def test_a_file_is_fetched_once_and_held_against_what_the_hub_names(hub: Hub) -> None:
    path = found()
    assert path == Path.home() / ".cache" / "tlkit" / "weights" / "tiny.a1.safetensors"
    assert path.read_bytes() == CONTENT
    assert hub.asked == ["/timm/tiny.a1/resolve/main/model.safetensors", "/storage?signed=yes"]
    assert found() == path
    assert len(hub.asked) == 2


def test_another_content_is_thrown_away(hub: Hub) -> None:
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsMissing, match="does not have the checksum sha256:" + SHA256):
        found()
    assert not list((Path.home() / ".cache").rglob("tiny*"))


@pytest.mark.parametrize("etag", ["", '"not a sha256"', 'W/"0123abc"'])
def test_without_a_checksum_nothing_is_kept(etag: str, hub: Hub) -> None:
    hub.etag = etag
    with pytest.raises(WeightsMissing, match="the server names no checksum"):
        found()
    assert not list((Path.home() / ".cache").rglob("tiny*"))


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", ""])
def test_what_huggingface_hub_fetched_is_used(variable: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"HF_HOME": tmp_path / "hub", "HF_HUB_CACHE": tmp_path, "": Path.home() / ".cache" / "huggingface" / "hub"}
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    path = in_the_hubs_cache(folders[variable])
    assert found() == path
    assert hub.asked == []


def test_offline_it_says_where_it_looked_and_what_would_help(hub: Hub) -> None:
    with pytest.raises(WeightsMissing) as caught:
        found(offline=True)
    said = str(caught.value)
    for words in ("tiny.a1.safetensors not found", "models--timm--tiny.a1", "offline=True forbids", f"from {SOURCE.url} into"):
        assert words in said
    assert hub.asked == []

"""Weights that advice downloads: none unless the user says how much, the best ones that fit, from a server on this machine."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from conftest import Cli, served
from tlkit_toy_build import ToyNet

from tlkit.advice import advising, candidates, downloads, imagenet_weights
from tlkit.advice.budget import Budget
from tlkit.advice.candidates import Named
from tlkit.advice.downloads import Offer
from tlkit.plugin import IMAGENET, Backbone, Download, Weights, registry

OFFERS = [
    Offer(Named("a", "v2"), 82.0, 170e6, 15e9), Offer(Named("b", "v2"), 80.0, 98e6, 8e9), Offer(Named("b", "v1"), 76.0, 90e6, 8e9),
    Offer(Named("c", "v1"), 72.0, 14e6, 6e8),
]  # fmt: skip


@pytest.mark.parametrize(
    ("room", "seconds", "expected"),
    [(200e6, 1e9, "ac"), (150e6, 1e9, "bc"), (400e6, 1e9, "abc"), (400e6, 60.0, "c"), (10e6, 1e9, "")],
)
def test_best_weights_that_fit_are_chosen_once_a_network(room: float, seconds: float, expected: str) -> None:
    found = downloads.chosen(OFFERS, room=room, seconds=seconds, images=600)  # 96 seconds for b, 7 for c
    assert "".join(each.named.backbone for each in found) == expected


def test_downloads_end_with_their_time_and_after_the_first_that_fails() -> None:
    now, notes, asked = [0.0], list[str](), list[str]()

    def get(named: Named, end: float) -> tuple[list[candidates.Ready], list[str]]:
        assert end == pytest.approx(now[0] + 0.25 * (300 - now[0]))
        asked.append(named.backbone)
        now[0] += 100
        return [], ["no connection"]

    budget = Budget(300.0, clock=lambda: now[0])
    assert downloads.fetch([OFFERS[1], OFFERS[3], OFFERS[0]], budget, notes, get) == []
    assert asked == ["b"]
    assert notes == ["no connection", "after that no other download was tried: c, a"]
    downloads.fetch([replace(OFFERS[0], size=1e9)], budget, notes, get)
    assert notes[-1] == "a is not downloaded: 1 GB would take too much of the time"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was asked of a server that has weights of the toy network, which are no others' and not here."""
    torch.manual_seed(1)
    content, requests = io.BytesIO(), list[str]()
    torch.save(ToyNet().state_dict(), content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content.getvalue())))
            self.end_headers()
            self.wfile.write(content.getvalue())

        def log_message(self, *_: object) -> None: ...

    get = registry.get
    with served(Handler) as address:
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        source = Download(f"{address}/toy.pth", f"sha256:{digest}", "toy-served.pth")
        toy = replace(get(Backbone, "toy"), weights={"served": Weights(source, IMAGENET)})
        monkeypatch.setattr(registry, "get", lambda kind, name: toy if (kind, name) == (Backbone, "toy") else get(kind, name))
        monkeypatch.setattr(candidates, "offered", lambda: [Named("toy", "served")])
        monkeypatch.setattr(imagenet_weights, "_TABLE", {("toy", "served"): (60.0, 0.1, 0.001, 0.1)})
        yield requests


def test_weights_are_downloaded_only_where_the_user_says_how_much_and_within_the_time(
    run: Cli, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for name, colour in {"red": (200, 60, 60), "blue": (60, 60, 200)}.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (20, 20), (colour[0] + number, colour[1], colour[2])).save(
                tmp_path / "pictures" / name / f"{number}.png"
            )
    (tmp_path / "r.toml").write_text(
        'format = 1\nname = "r"\nbackbone = { name = "toy", weights = "none" }\nlr_groups = { backbone = 1e-3, head = 1e-3 }\n'
        'data = { name = "folder", image_size = 16, options = { path = "pictures", test_fraction = 0.2 } }\n'
    )
    plain = ("advise", "r.toml", "--no-try", "--json")
    for more in ((), ("--offline",), ("--download", "50KB")):
        code, _, err = run(*plain, *more)
        assert code == 1
        assert "no trained weights are on this machine" in err
        assert "or let it take the best ones that fit a size: --download 200MB" in err
    assert not asked
    for more in (("--offline",), ("--backbones", "toy")):
        code, _, err = run(*plain, "--download", "1MB", *more)
        assert code == 2
        assert err.startswith("--download 1MB: is f")
    with monkeypatch.context() as late:
        late.setattr(advising, "_DOWNLOADS", -1.0)
        code, _, err = run(*plain, "--backbones", "toy=served")
        assert code == 1
        assert "the download was stopped: it takes too much of a budget of 10m" in err
        assert asked.pop() == "/toy.pth"
    code, out, err = run(*plain, "--download", "1MB")
    assert code == 0, err
    assert asked == ["/toy.pth"]
    assert [each["backbone"] for each in json.loads(out)["candidates"]] == ["toy"]
    assert run(*plain, "--offline")[0] == 0  # it is here now

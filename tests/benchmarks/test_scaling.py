"""The simulated pass: what can be worked by hand comes out, and failures cost what they must."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from pages import Page

from benchmarks import scaling
from benchmarks.scaling import Pass, simulate
from tlkit_shards import index
from tlkit_shards.places import State

_EVEN = Pass(
    images=100_000, image_bytes=1000, shard_bytes=1_000_000, nodes=10, images_per_second=10, spread=0, days_between_failures=1e9
)


def test_without_failures_ten_nodes_take_ten_shards_each() -> None:
    found = simulate(_EVEN)
    assert found.hours == pytest.approx(10 * 1000 / 10 / 3600)
    assert found.hours == pytest.approx(found.ideal_hours)
    assert (found.failures, found.lost_share) == (0, 0)
    assert found.network_gigabytes_per_second == pytest.approx(10 * 10 * 1000 / 1e9)


def test_failures_cost_their_time_away_and_half_a_shard_each() -> None:
    planned = dataclasses.replace(_EVEN, images=10_000_000, days_between_failures=0.1, minutes_away=5)
    found = simulate(planned)
    days = found.hours / 24
    up = 1 / (1 + 5 / 60 / 24 / 0.1)  # share of the time that a node is there
    assert found.failures == pytest.approx(planned.nodes * days / 0.1 * up, rel=0.1)
    assert found.lost_share == pytest.approx(50 / (0.1 * 86_400), rel=0.2)  # 50 s of each 8,640
    assert found.hours == pytest.approx(found.ideal_hours / up * (1 + found.lost_share), rel=0.05)


def test_the_simulation_is_the_same_every_time() -> None:
    planned = Pass(images=10**7, days_between_failures=1)
    assert simulate(planned) == simulate(planned)


def test_an_index_has_as_many_bytes_an_image_as_the_simulation_says() -> None:
    count = 1000
    found = (index.Found(f"{number:09d}.jpg", str(number % 1000), number, b"x") for number in range(count))
    made = index.made("x.tar", State(1, "", True), found)
    columns = (made.names, made.labels, made.group, made.begin, made.size, made.digest)
    assert sum(np.asarray(each).nbytes for each in columns) / count <= scaling.INDEX_BYTES


def test_the_page_shows_what_the_simulation_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main([]) == 0
    assert Page(ROOT / "docs" / "scaling.md").after("scaling: default") == capsys.readouterr().out


def test_measured_rates_give_whole_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = tmp_path / "rates.json"
    rates.write_text(json.dumps({"embedded": 24.3, "image_bytes": 28_103.8}))
    assert scaling.main(["--rates", str(rates), "--images", "1e6"]) == 0
    shards = -(-1_000_000 // (256_000_000 // 28_104))
    assert capsys.readouterr().out.startswith(f"1,000,000 images in {shards} shards on 100 nodes, 24 images/s each\n")

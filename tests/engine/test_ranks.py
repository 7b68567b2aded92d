"""A run that several processes share has the result of one process, up to rounding, whatever their number."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, TOY_RECIPE, python_path
from filelock import FileLock
from torch import nn
from torch.nn import functional

from tlkit.engine.ranks import noise, shares
from tlkit.engine.ranks.noise import Rows
from tlkit.engine.ranks.ranks import Alone, turns
from tlkit.engine.ranks.shares import Composition, Share

TESTS = ROOT / "tests"
Seen = dict[int, list[dict[str, Any]]]  # by number of processes, of each of them


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_hold_every_image_of_a_batch_once_in_order_and_weights_count_each_once(size: int) -> None:
    for images in range(1, 12):
        mine = [shares.share(images, rank, size) for rank in range(size)]
        counted = [index for each in mine if each.counted for index in range(each.start, each.stop)]
        assert counted == list(range(images))
        assert all(each == Share(images - 1, images, 0) for each in mine if not each.counted)
        assert max(each.counted for each in mine) - min(each.counted for each in mine) <= 1


@pytest.mark.parametrize(("images", "batch", "size"), [(90, 16, 3), (17, 8, 5), (15, 8, 5), (7, 2, 3), (4, 8, 3)])
def test_no_batch_of_an_epoch_is_larger_for_a_process_than_its_share_of_a_full_one(images: int, batch: int, size: int) -> None:
    order = np.random.default_rng(0).permutation(images)
    for rank in range(size):
        full = shares.share(batch, rank, size)
        each = full.stop - full.start
        mine = shares.of_epoch(order, batch, rank, size)
        for at, start in enumerate(range(0, images, batch)):
            whole = order[start : start + batch]
            part = shares.share(len(whole), rank, size)
            assert mine[at * each : (at + 1) * each].tolist() == whole[part.start : part.stop].tolist()


@pytest.mark.parametrize("images", [1, 8, 9, 40])
def test_evaluation_is_divided_by_whole_batches_in_order(images: int) -> None:
    indices, size = np.arange(100, 100 + images), 3
    parts = [shares.of_evaluation(indices, 8, rank, size) for rank in range(size)]
    assert np.concatenate([mine[:counted] for mine, counted in parts]).tolist() == indices.tolist()
    assert all(len(mine) for mine, _ in parts)
    assert all((mine[0] - 100) % 8 == 0 for mine, _ in parts)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("make", [nn.Dropout, nn.Dropout2d])
def test_dropout_of_a_part_is_that_of_the_whole_batch(make: type[nn.Module], layout: torch.memory_format) -> None:
    x = torch.randn(7, 3, 4, 5).contiguous(memory_format=layout)
    ours = {nn.Dropout: noise.dropout, nn.Dropout2d: noise.feature_dropout}[make]
    torch.manual_seed(0)
    expected = make(0.4)(x)
    for start, stop in ((0, 3), (3, 7)):
        torch.manual_seed(0)
        part = ours(Rows(((start, stop),), 7), x[start:stop].contiguous(memory_format=layout), 0.4)
        assert torch.equal(part, expected[start:stop])


def test_dropout_of_parts_that_are_shared_by_themselves_is_that_of_the_whole_batch() -> None:
    """Five images of the source, two labelled ones of the target and five without labels, by two and by three processes."""
    batch, x = Composition(5, 2, 5), torch.randn(12, 3)
    torch.manual_seed(0)
    expected = functional.dropout(x, 0.4)
    for size in (2, 3):
        seen: list[int] = []
        for rank in range(size):
            ranges = tuple((each.start, each.stop) for each in batch.shares(rank, size))
            places = [place for start, stop in ranges for place in range(start, stop)]
            torch.manual_seed(0)
            found = noise.dropout(Rows(ranges, batch.whole), x[places], 0.4)
            assert found is not None
            assert torch.equal(found, expected[places])
            seen += places
        assert sorted(seen) == list(range(12))
        assert sum(batch.counts(size)) == 12


@pytest.mark.parametrize("draw", ["dropout", "feature dropout", "bernoulli"])
def test_noise_of_images_with_several_rows_is_that_of_the_whole_batch_and_leaves_the_generators_alike(draw: str) -> None:
    """As where windows or tokens are folded into the first dimension."""
    x = torch.ones(5 * 4, 3, 2)

    def drawn(part: torch.Tensor, rows: Rows | None) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        if draw == "bernoulli":
            found = part.clone().bernoulli_(0.5) if rows is None else noise.bernoulli_(rows, part.clone(), 0.5)
        else:
            theirs, ours = {
                "dropout": (functional.dropout, noise.dropout),
                "feature dropout": (functional.dropout1d, noise.feature_dropout),
            }[draw]
            found = theirs(part, 0.4) if rows is None else ours(rows, part, 0.4)
        assert found is not None
        return found, torch.get_rng_state()

    expected, after = drawn(x, None)
    for start, stop in ((0, 2), (2, 5)):
        found, state = drawn(x[4 * start : 4 * stop], Rows(((start, stop),), 5))
        assert torch.equal(found, expected[4 * start : 4 * stop])
        assert torch.equal(state, after)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What every case comes to with one, two and three processes; see tests/toy_ranks.py."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork, so that imports are paid once")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ranks"
    recipe, whole = folder / "toy.toml", folder / "whole"
    with FileLock(folder.with_suffix(".lock")):  # once for all workers of pytest-xdist
        if not whole.exists():
            folder.mkdir(exist_ok=True)
            recipe.write_text(TOY_RECIPE)
            done = subprocess.run(
                [sys.executable, str(TESTS / "toy_ranks.py"), str(recipe), str(folder)],
                env={**os.environ, "HOME": str(folder), "PYTHONPATH": python_path(TESTS, TESTS / "toy")},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            whole.touch()
    return {size: [json.loads((folder / f"{size}-{rank}.json").read_text()) for rank in range(size)] for size in (1, 2, 3)}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    ("case", "within"),
    [
        ("sgd", 1e-6), ("sgd, float64", 1e-10), ("adamw", 1e-4), ("everything", 1e-6), ("everything, float64", 1e-10),
        ("sync", 1e-6), ("sync, float64", 1e-10), ("auxiliary", 1e-6), ("fewer images than processes", 1e-6),
        ("mcc and labels", 1e-6), ("mcc and labels, float64", 1e-10), ("cdan", 1e-5), ("cdan, float64", 1e-10),
        ("mme of fewer images", 1e-5), ("mme of fewer images, float64", 1e-10),
    ],
)  # fmt: skip
def test_the_result_does_not_depend_on_the_number_of_workers(seen: Seen, case: str, within: float, size: int) -> None:
    alone = seen[1][0][case]
    assert len(alone["losses"]) >= 12
    for each in seen[size]:
        assert each[case]["losses"] == pytest.approx(alone["losses"], rel=within)
        assert [epoch[3] for epoch in each[case]["epochs"]] == [epoch[3] for epoch in alone["epochs"]]


def test_local_batch_norm_is_over_the_images_of_one_process(seen: Seen) -> None:
    alone, shared = (seen[size][0]["local"]["losses"] for size in (1, 2))
    assert abs(shared[0] / alone[0] - 1) > 1e-3


@pytest.mark.parametrize("size", [2, 3])
def test_all_processes_hold_the_same_bits_after_training(seen: Seen, size: int) -> None:
    first, *others = seen[size]
    for case, found in first.items():
        if "state" in found:
            assert [name for name, each in found["state"].items() if any(o[case]["state"][name] != each for o in others)] == []


@pytest.mark.parametrize("size", [2, 3])
def test_each_process_stores_a_part_of_the_fixed_prefixs_outputs_and_none_twice(seen: Seen, size: int) -> None:
    alone, mine = seen[1][0]["stored"], [each["stored"] for each in seen[size]]
    assert alone["stored"] > 100
    assert sum(each["stored"] for each in mine) == alone["stored"]
    assert all(each["stored"] >= alone["stored"] // size - size for each in mine)
    assert all(each["losses"] == pytest.approx(alone["losses"], rel=1e-6) for each in mine)


@pytest.mark.parametrize("size", [2, 3])
def test_step_is_captured_on_all_processes_or_on_none(seen: Seen, size: int) -> None:
    alone = seen[1][0]["captured"]
    for each in seen[size]:
        assert each["captured"]["calls"] == alone["calls"]
        assert each["captured"]["losses"] == pytest.approx(alone["losses"], rel=1e-6)
        assert each["refused"]["losses"] == pytest.approx(alone["losses"], rel=1e-6)
        assert "replay" not in each["refused"]["calls"]
    whys = [each["refused"]["warnings"][0].partition("graph: ")[2] for each in seen[size]]
    assert whys == ["another process of the run cannot capture it", "RuntimeError: no room", whys[0]][:size]


@dataclass(frozen=True)
class Numbered(Alone):
    """One of several processes, which waits for nobody."""


@pytest.mark.parametrize("shared", [True, False], ids=["shared by all", "one for each machine"])
def test_whatever_stores_the_machines_have_no_process_computes_what_another_has_stored(shared: bool) -> None:
    everything, machines = np.arange(50), 2
    ranks = [Numbered(rank, 6, rank % 3, 3) for rank in range(6)]
    stores: list[set[int]] = [set() for _ in range(1 if shared else machines)]
    done = [0] * len(ranks)
    for together in zip(*map(turns, ranks), strict=True):
        for each, mine in zip(ranks, together, strict=True):
            store = stores[0 if shared else each.rank // 3]
            computed = [row for row in mine(everything).tolist() if row not in store]
            store.update(computed)
            done[each.rank] += len(computed)
    assert all(len(store) == len(everything) for store in stores)
    assert max(done) - min(done) <= 2


def test_all_processes_stop_after_the_step_in_which_the_time_of_the_first_is_over(seen: Seen) -> None:
    for size in (2, 3):
        mine, *others = [each["stopped"] for each in seen[size]]
        assert mine == [1, 2, "there was no time for more."], "6 steps are an epoch"
        assert others == [[1, 2, "stopped: another process has no time for more."]] * (size - 1)


def test_a_solved_head_is_the_same_for_any_number_of_workers_bit_for_bit(seen: Seen) -> None:
    assert all(each["solved"] == seen[1][0]["solved"] for size in (2, 3) for each in seen[size])


def test_a_head_begins_solved_with_the_same_bits_for_any_number_of_workers(seen: Seen) -> None:
    assert all(each["started"] == seen[1][0]["started"] for size in (2, 3) for each in seen[size])

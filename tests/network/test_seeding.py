"""Computing with a seed of its own leaves the program's generators as they were: the CPU's, and that of one GPU by a stand-in."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch
from torch import Tensor
from toy_fork import exit_code_within

from tlkit.network import seeding

CPU, SECOND = torch.device("cpu"), torch.device("cuda:1")


class Generators:
    """Generators of two GPUs that are not there; each state is the list of what was done to it."""

    def __init__(self) -> None:
        self.states: dict[int, list[int]] = {0: [100], 1: [101]}
        self.current = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor(self.states[torch.device(device).index]))
        patch.setattr(torch.cuda, "set_rng_state", self._set)
        patch.setattr(torch.cuda, "manual_seed", self._seed)
        patch.setattr(torch.cuda, "device", self._device)

    def _set(self, state: Tensor, device: torch.device) -> None:
        self.states[torch.device(device).index] = state.tolist()

    def _seed(self, seed: int) -> None:
        self.states[self.current] = [seed]

    def _device(self, device: torch.device) -> "Within":
        return Within(self, device.index)


class Within:
    """Makes a GPU the current one."""

    def __init__(self, generators: Generators, index: int) -> None:
        self.generators, self.index = generators, index

    def __enter__(self) -> None:
        self.before, self.generators.current = self.generators.current, self.index

    def __exit__(self, *_: object) -> None:
        self.generators.current = self.before


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, list[int]]]:
    generators = Generators()
    generators.install(monkeypatch)
    before = torch.get_rng_state()
    yield generators.states
    assert torch.equal(torch.get_rng_state(), before)


def test_only_the_generator_of_the_gpu_that_computes_is_seeded_and_given_back(gpus: dict[int, list[int]]) -> None:
    with seeding.seeded(7, SECOND):
        assert gpus == {0: [100], 1: [7]}
        gpus[1].append(8)  # something is drawn
        torch.rand(3)
    assert gpus == {0: [100], 1: [101]}


def test_what_is_drawn_on_a_gpu_while_it_is_measured_is_given_back(gpus: dict[int, list[int]]) -> None:
    with seeding.kept(SECOND):
        gpus[1].append(8)
        torch.rand(3)
    assert gpus == {0: [100], 1: [101]}


def test_computing_on_the_cpu_touches_no_gpu(gpus: dict[int, list[int]]) -> None:
    with seeding.seeded(7, CPU):
        first = torch.rand(3)
    with seeding.seeded(7, CPU):
        assert torch.equal(torch.rand(3), first)
    assert gpus == {0: [100], 1: [101]}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_draws_go_on_as_if_nothing_had_been_computed_in_between() -> None:
    device = torch.device("cuda")
    state = torch.cuda.get_rng_state(device)
    expected = torch.rand(3, device=device)
    torch.cuda.set_rng_state(state, device)
    with seeding.seeded(7, device):
        torch.rand(5, device=device)
    assert torch.equal(torch.rand(3, device=device), expected)


def test_threads_draw_one_after_the_other_as_each_would_alone() -> None:
    both = threading.Barrier(2)

    def drawn(seed: int) -> float:
        with seeding.seeded(seed):
            with suppress(threading.BrokenBarrierError):
                both.wait(0.02)  # where both can be here, they draw from one generator
            return torch.rand(1).item()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(drawn, (1, 2))) == [drawn(1), drawn(2)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has several threads: since Python 3.12
def test_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    assert exit_code_within(lambda: seeding.seeded(1)) == 0

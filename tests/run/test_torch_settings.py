"""A program that uses tlkit finds its own settings as they were."""

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils import deterministic
from toy_model import OPTIONS, compiled, labels, pixels

import tlkit
from tlkit import machine
from tlkit.engine import tf32
from tlkit.run import torch_settings
from tlkit.sources import image_files

CUDA = torch.device("cuda")


def _settings() -> dict[str, object]:
    """Everything of the process that a library should leave alone."""
    cudnn = torch.backends.cudnn
    return {
        "threads": torch.get_num_threads(),
        "cudnn": (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, cudnn.enabled),
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.random.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "pillow": Image.MAX_IMAGE_PIXELS,
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "blocks": machine.kept_blocks.wanted,
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
    }


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A host of more threads than may be used, whose memory nobody but the command line may keep to the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    monkeypatch.setattr(machine, "processors", lambda: 1)
    monkeypatch.setattr(machine, "keep_blocks", lambda: pytest.fail("mallopt is for the whole process"))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_a_program_that_uses_tlkit_finds_its_settings_as_they_were(toy_recipe: Path) -> None:
    for library in (
        "scipy.sparse",
        "sklearn.metrics",
        "torchmetrics",
    ):  # have filters of their own warnings from their import on
        importlib.import_module(library)
    before = _settings()
    made = compiled()
    seen: list[int] = []
    kept: list[int] = []
    made.network.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    made.network.head.register_forward_hook(lambda *_: kept.append(machine.kept_blocks.wanted))
    made.fit("synthetic", options=OPTIONS, epochs=1, batch_size=16, verbose=0)
    assert set(kept) == {before["blocks"] + 1}
    kept.clear()
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels(1)[0]).save(name)
    made.predict(["a.png", "b.png"])
    made.evaluate(pixels(), labels())
    made.embed(pixels(2))
    assert set(seen) == {1}
    assert set(kept) == {before["blocks"]}, "whoever only predicts keeps no memory"
    assert _settings() == before
    tlkit.apply(toy_recipe, "schedule.epochs=1")
    assert _settings() == before
    (made_plan,) = tlkit.plan(toy_recipe).values()
    for _ in tlkit.epochs(made_plan):
        assert _settings() == before, "between two epochs too"


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _mode() -> tuple[object, ...]:
    modes = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return *modes, torch.is_autocast_enabled("cpu")


def _trained() -> tuple[dict[str, torch.Tensor], NDArray[np.float32]]:
    made = compiled()
    made.fit("synthetic", options=OPTIONS, epochs=1, batch_size=16, verbose=0)
    made.save("saved")
    return made.state_dict(), np.asarray(tlkit.load("saved", device="cpu").predict(pixels(4)))


def test_a_model_has_the_same_bits_in_whatever_mode_the_program_is() -> None:
    wanted, answers = _trained()
    with _default_dtype(torch.float64), torch.device("meta"), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before = _mode()
        found, given = _trained()
        assert _mode() == before
    with torch.no_grad():
        without_gradients, _ = _trained()
    for tensors in (found, without_gradients):
        assert all(torch.equal(tensors[key], tensor) for key, tensor in wanted.items())
    assert np.array_equal(given, answers)


def _gpu_settings() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark, torch.get_deterministic_debug_mode()
    return *flags, deterministic.fill_uninitialized_memory, tf32.described()


def test_settings_of_a_gpu_are_put_back_after_an_error() -> None:
    before, within = _gpu_settings(), []

    def fails() -> None:
        with torch_settings.applied(CUDA):
            within.append(_gpu_settings())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert within == [(True, False, 1, False, "convolutions ieee, products ieee")]
    assert _gpu_settings() == before
    assert before == (False, False, 0, True, "convolutions tf32, products ieee"), "as torch has them"


def test_a_gpu_that_is_named_by_its_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would take some hundred MB of the first one as well, whose streams it waits for before a capture."""
    current: list[torch.device] = []

    @contextmanager
    def chosen(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield
        current.remove(device)

    monkeypatch.setattr(torch.cuda, "device", chosen)
    for device, expected in ((torch.device("cuda:1"), ["cuda:1"]), (CUDA, []), (torch.device("cpu"), [])):
        with torch_settings.applied(device):
            assert list(map(str, current)) == expected
        assert current == []


def test_settings_stay_until_the_last_thread_is_done() -> None:
    def state() -> tuple[object, ...]:
        return *_gpu_settings(), torch.get_default_dtype(), list(warnings.filters)

    with _default_dtype(torch.float64):
        before = state()
        first, second = torch_settings.applied(CUDA), torch_settings.applied(CUDA)
        first.__enter__()
        within = state()
        second.__enter__()
        first.__exit__(None, None, None)
        assert state() == within != before
        second.__exit__(None, None, None)
        assert state() == before


def test_training_reads_no_memory_that_it_did_not_write(toy_recipe: Path) -> None:
    """Torch fills new tensors with NaN where deterministic algorithms are asked for and `fill_uninitialized_memory` is on."""
    (plan,) = tlkit.plan(toy_recipe, ["schedule.epochs=1", "data.options.train=48"]).values()
    seen = []
    for filled in (True, False):
        before = torch.get_deterministic_debug_mode()
        torch.set_deterministic_debug_mode("warn" if filled else before)
        try:
            assert torch.empty(8).isnan().all() or not filled
            seen += [(epoch.train, epoch.validation, epoch.test) for epoch in tlkit.epochs(plan)]
        finally:
            torch.set_deterministic_debug_mode(before)
    assert seen[0] == seen[1]
    assert seen[0][0]["loss"] > 0


def test_an_operator_that_is_not_deterministic_warns_nobody_in_a_run_on_a_gpu() -> None:
    with torch_settings.applied(CUDA):
        warnings.warn("cumsum_cuda does not have a deterministic implementation, but you set ...", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning), torch_settings.applied(CUDA):
        warnings.warn("another", UserWarning, stacklevel=1)


def test_what_only_the_environment_gives_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.CUBLAS, "")  # so that it is put back
    monkeypatch.delenv(machine.CUBLAS)
    assert torch_settings.why_inexact(torch.device("cpu")) == ""
    assert "CUBLAS_WORKSPACE_CONFIG is not set" in torch_settings.why_inexact(CUDA)
    machine.let_cublas_repeat()
    assert torch_settings.why_inexact(CUDA) == ""
    monkeypatch.setenv(machine.CUBLAS, ":16:8")
    machine.let_cublas_repeat()
    assert os.environ[machine.CUBLAS] == ":16:8", "what the user set counts"


def test_a_run_that_may_not_repeat_says_why(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_settings, "why_inexact", lambda device: "the sky is grey")
    done = tlkit.apply(toy_recipe, "schedule.epochs=1")
    (run,) = done.result["arms"]["main"]["seeds"].values()
    assert (run["exact"], run["why_inexact"]) == (False, "the sky is grey")


def test_pillows_limit_is_lifted_only_while_an_image_is_opened() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with image_files.without_limit():
        with image_files.without_limit():
            assert sys.maxsize == Image.MAX_IMAGE_PIXELS, "a number, which other threads multiply meanwhile"
        assert sys.maxsize == Image.MAX_IMAGE_PIXELS, "another thread is still in it"
    assert limit == Image.MAX_IMAGE_PIXELS
    assert limit is not None


def test_a_run_seeds_no_gpu_that_it_does_not_use(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seeds(seed: int) -> None:
        raise AssertionError("torch.manual_seed seeds every GPU, now or when it is first used")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds)
    before = torch.get_rng_state()
    tlkit.apply(toy_recipe, ["schedule.epochs=1", "head.options.dropout=0.5"])
    assert torch.equal(torch.get_rng_state(), before)


def test_freed_memory_is_kept_while_an_epoch_is_computed_and_no_longer() -> None:
    before = machine.kept_blocks.wanted
    wanted = torch_settings.applied_between((machine.kept_blocks.wanted for _ in range(2)), torch.device("cpu"))
    assert next(wanted) == before + 1
    assert machine.kept_blocks.wanted == before, "also if the caller asks for no further epoch"

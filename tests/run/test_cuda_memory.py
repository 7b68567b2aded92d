"""A GPU whose memory runs out in a step: the batch passes the network in parts, as tests/run/test_out_of_memory.py shows with a stand-in."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_gpu import Watching, needs_cuda

from tlkit import api

# SGD, for Adam divides small gradients by themselves; the stage with dropout is frozen, for parts draw other masks.
SETTINGS = (
    'backbone.batch_norm="running"', "freeze={block2=true}", 'optimizer={name="sgd", momentum=0.9}', 'precision="float32"',
)  # fmt: skip
# Images whose activations are hundreds of MB; on a CPU the recipe's own.
LARGE = ("data.image_size=96", "data.batch_size=256", "data.options={classes=4, train=512, test=16, size=96}")


def applied(recipe: Path, name: str, device: str) -> tuple[Path | None, list[str]]:
    """Train; return the run's folder, None where it failed, and what it said."""
    watching, runs = Watching(), recipe.parent / name
    settings = [*SETTINGS, *(LARGE if device == "cuda" else ())]
    done = api.apply(recipe, settings, device=device, runs=runs, observer=watching)
    if done.failures:  # where memory ran out while forms of the step were timed there is no run yet
        return None, watching.notes
    (found,) = (path.parent for path in runs.glob("*/*/resolved.toml"))
    return found, watching.notes


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=needs_cuda)])
def test_batch_that_a_gpu_has_no_memory_for_is_one_step_in_parts(
    toy_recipe: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU memory does not run out: there the test shows that it works but for that."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    gpu = device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    whole, notes = applied(toy_recipe, "whole", device)
    assert whole is not None, notes
    most = torch.cuda.max_memory_allocated() if gpu else 0
    said: list[str] = []
    parts: Path | None = None
    for percent in range(90, 20, -10) if gpu else [100]:
        if gpu:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(percent / 100 * most / total)
        try:
            parts, notes = applied(toy_recipe, f"parts {percent}", device)
        finally:
            if gpu:
                torch.cuda.set_per_process_memory_fraction(1.0)
        said = [line for line in notes if "passes the network in" in line]
        if parts is not None and said:
            break
    assert parts is not None, notes
    assert bool(said) == gpu
    result = json.loads((parts / "result.json").read_text())
    assert ("each batch passed the network in" in result.get("why_inexact", "")) == gpu
    wanted, found = (load_file(each / "weights.safetensors") for each in (whole, parts))
    assert wanted.keys() == found.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4)

"""What a network answers on a GPU that is not there: it comes to the host once, and metrics are computed from that copy.

Between two batches of a finished network the host does no more than it must: else a GPU waits for it.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there
from toy_step import made
from toy_training import CPU

from tlkit.engine.evaluate import evaluate, evaluating


@pytest.mark.parametrize("batches", [1, 5])
def test_answers_and_labels_are_copied_to_the_host_once_each_however_many_batches(toy_recipe: Path, batches: int) -> None:
    network, _ = made(toy_recipe)
    with on_a_gpu_that_is_not_there():
        batch = torch.empty(8, 3, 16, 16, device=FAKE), torch.zeros(8, dtype=torch.int64, device=FAKE)
        with Operators() as operators:
            found = evaluate(network, lambda x: (x, x.new_empty(len(x), 4)), [batch] * batches, watch=lambda: None)
    assert (found.logits.shape, found.targets.shape) == ((8 * batches, 4), (8 * batches,))
    assert found.logits.device == found.targets.device == CPU
    assert len(operators.reads) == 2


def test_every_module_gets_its_mode_back_and_a_finished_network_none(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = made(toy_recipe)
    network.train()
    network.stages["stem"].eval()
    before = [module.training for module in network.modules()]
    assert set(before) == {True, False}
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == before
    network.eval()
    monkeypatch.setattr(nn.Module, "__setattr__", lambda module, name, _: pytest.fail(f"{module}: {name} is set"))
    with evaluating(network):
        pass

"""Memory that runs out is a message that says what fits, in every method of a Model and between two epochs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_model import compiled, labels, pixels

import tlkit
from tlkit.engine.fit import Fit
from tlkit.errors import OutOfMemory, RunFailed, TlkitError
from tlkit.network.network import Network

X, Y = pixels(), labels()
CALLS: dict[str, Callable[[tlkit.Model], object]] = {
    "predict": lambda model: model.predict(X, batch_size=8),
    "evaluate": lambda model: model.evaluate(X, Y, batch_size=8, verbose=0),
    "embed": lambda model: model.embed(X[:8]),
}


def _exhaust(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize("call", CALLS)
def test_batch_that_does_not_fit_is_a_message(call: str) -> None:
    model = compiled()
    model.network.stages["stem"].register_forward_pre_hook(_exhaust)
    with pytest.raises(TlkitError, match=f"Model.{call}: does not fit into the memory of cpu: 8 images at a time"):
        CALLS[call](model)


def test_step_that_does_not_fit_is_a_message_and_the_model_goes_on(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = compiled()
    hook = model.network.stages["stem"].register_forward_pre_hook(lambda module, _: module.training and _exhaust())
    with pytest.raises(OutOfMemory, match=r"^Model\.fit: a batch of 8 images does not fit into the memory of cpu") as error:
        model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    assert "batch_size" in str(error.value)
    with monkeypatch.context() as patch:
        patch.setattr(Fit, "is_sound", lambda _: [patch.setattr(Network, "to", _exhaust), _exhaust()])  # and no layout after it
        before = {name: tensor.clone() for name, tensor in model.network.tensors().items()}
        with pytest.raises(OutOfMemory, match="a batch of 8 images") as error:
            model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    assert error.value.hints[-1] == "the model's weights are those that it had before fit", "what was not looked at may be NaN"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.tensors().items())
    hook.remove()
    assert len(model.fit(X, Y, epochs=1, batch_size=4, verbose=0)) == 1
    (plan,) = tlkit.plan(toy_recipe).values()
    monkeypatch.setattr(Fit, "_epoch", _exhaust)
    with pytest.raises(RunFailed, match="does not fit into the memory of cpu"):
        next(tlkit.epochs(plan))

"""A model that several threads use, as a server does: one after the other, and its weights stay as they are."""

import copy
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress

import numpy as np
import pytest
import torch
from toy_fork import exit_code_within
from toy_model import compiled, labels, pixels

import tlkit
from tlkit.network import seeding
from tlkit.network.turns import Turn

X, Y = pixels(), labels()
CALLS: dict[str, Callable[[tlkit.Model], object]] = {
    "predict": lambda model: model.predict(X),
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
    "embed": lambda model: model.embed(X),
}


@pytest.mark.parametrize("call", CALLS)
def test_threads_use_a_model_one_after_the_other(call: str) -> None:
    model = compiled()
    model.network.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    both, met = threading.Barrier(2), []

    def meet(*_: object) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.02)  # the first to leave would put BatchNorm back into training while the other computes
            met.append(True)

    model.network.stages["stem"].register_forward_pre_hook(meet)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(CALLS[call], (model, copy.copy(model))))
    assert not met
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_callback_uses_the_model_that_is_trained_and_a_deep_copy_waits_for_nobody() -> None:
    model, seen = compiled(), []

    class Watch:
        def on_epoch_end(self, epoch: int, logs: object) -> None:
            seen.append(model.predict(X[:1]))
            with ThreadPoolExecutor(1) as pool:
                seen.append(pool.submit(copy.deepcopy(model).predict, X[:1]).result(timeout=5))

    model.fit(X, Y, epochs=1, batch_size=8, callbacks=[Watch()], verbose=0)
    assert np.array_equal(*seen)


def test_threads_that_would_wait_for_each_other_get_an_error() -> None:
    """As where a callback uses a model that another thread trains, which waits to train an epoch."""
    model, both = Turn(), threading.Barrier(2)

    def wait(*turns: AbstractContextManager[None]) -> str:
        try:
            with turns[0]:
                both.wait()
                with turns[1]:
                    return ""
        except tlkit.TlkitError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(wait, model, seeding.kept(seeding.CPU)), pool.submit(wait, seeding.kept(seeding.CPU), model)]
        said = [each.result(timeout=20) for each in waiting]
    assert any("both would wait forever" in each for each in said)
    with model, seeding.kept(seeding.CPU):
        pass  # nobody has them any more


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has several threads: since Python 3.12
def test_a_forked_process_waits_for_no_thread_that_has_its_turn() -> None:
    turn = Turn()
    assert exit_code_within(lambda: turn) == 0

"""The forward pass of an evaluation, eager and by a captured graph, by a stand-in for the device that keeps a record."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_operators import FAKE, on_a_gpu_that_is_not_there
from toy_step import LATE_STEM, Again, Recorder, batch, made, there
from toy_training import CPU, training

from tlkit.engine import evaluation_forward, tiles
from tlkit.engine.evaluation_forward import OFTEN, EvaluationForward
from tlkit.network import device_memory
from tlkit.network.network import Network
from tlkit.plans.plan import Plan
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat

HALF = ComputeFormat("bfloat16", "channels_last")
CAPTURE = ["warm up", "capture"]


def answering(
    recipe: Path, *settings: str, compute_format: ComputeFormat = PLAIN_FORMAT, backend: Recorder | None = None, notes: list[str] | None = None,
    **more: object,
) -> tuple[EvaluationForward, Network, Plan]:  # fmt: skip
    network, plan = made(recipe, *settings, compute_format=compute_format)
    plan = replace(plan, **more)
    with torch.no_grad():
        network.head.weight.normal_()
    found = EvaluationForward(network.eval(), plan, CPU, backend=backend, note=([] if notes is None else notes).append)
    found.begin_(1)
    return found, network, plan


# Formats of training and of evaluation -> the type in which the stages compute
@pytest.mark.parametrize(
    ("compute", "evaluation", "within"),
    [(HALF, None, torch.bfloat16), (HALF, ComputeFormat(), torch.float32), (PLAIN_FORMAT, None, torch.float32)],
)
def test_answers_are_computed_in_the_format_of_evaluation_from_the_cut_on(
    toy_recipe: Path, compute: ComputeFormat, evaluation: ComputeFormat | None, within: torch.dtype
) -> None:
    answer, network, plan = answering(toy_recipe, "freeze.stem=true", compute_format=compute, evaluation_format=evaluation)
    x, _ = batch(network, plan)
    seen: list[Tensor] = []
    network.stages["block1"].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    given = x.bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=within == torch.bfloat16):
        features, logits = network.read_and_answer(given if within == torch.bfloat16 else given.float(), start=1)
    with torch.no_grad():
        found = answer(given)
    assert [tensor.dtype for tensor in found] == [torch.float32] * 2
    torch.testing.assert_close(found, (features.float(), logits.float()))
    assert seen[-1].dtype == within
    assert seen[-1].is_contiguous(memory_format=torch.channels_last if compute is HALF else torch.contiguous_format)


def test_a_picture_in_tiles_passes_all_stages(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, network, _ = answering(toy_recipe, "freeze.stem=true", tile=32)
    x, asked = torch.randn(2, 3, 16, 16), []

    def logits(task: object, answer: Callable[[Tensor], Tensor], pictures: Tensor, *, tile: int) -> Tensor:
        asked.append((task, tile))
        return answer(pictures)

    monkeypatch.setattr(tiles, "logits", logits)
    with torch.no_grad():
        pictures, found = answer(x)
        torch.testing.assert_close(found, network(x))
    assert pictures is x
    assert asked == [(network.task, 32)]


def test_what_is_asked_often_is_captured_once_a_phase_and_has_the_bits_of_what_is_not(toy_recipe: Path) -> None:
    backend = Recorder()
    (answer, network, plan), (eager, *_) = answering(toy_recipe, LATE_STEM, backend=backend), answering(toy_recipe, LATE_STEM)
    eager.network.load_state_dict(network.state_dict())
    for epoch in (1, 2, 1):
        answer.begin_(epoch)
        eager.begin_(epoch)
        backend.calls.clear()
        full = [batch(network, plan, epoch, images=4, seed=seed)[0] for seed in range(OFTEN + 2)]
        short = batch(network, plan, epoch, images=2)[0]
        with torch.inference_mode():
            for number, x in enumerate([*full, short]):
                if number == OFTEN + 1:
                    network.head.weight.mul_(2)
                    eager.network.head.weight.mul_(2)
                assert all(map(torch.equal, answer(x), eager(x)))
        assert backend.calls == [*CAPTURE, *["replay"] * 3]
        backend.calls.clear()
        answer.begin_(epoch)
        assert backend.calls == []
    answer.release()
    assert backend.calls == ["release"]


def test_what_cannot_be_captured_answers_as_it_is_and_says_why_once(toy_recipe: Path) -> None:
    notes: list[str] = []
    backend = Recorder(failing={0: RuntimeError("no memory")})
    answer, network, plan = answering(toy_recipe, LATE_STEM, backend=backend, notes=notes)
    for epoch in (1, 2):
        answer.begin_(epoch)
        x, _ = batch(network, plan, epoch)
        with torch.inference_mode():
            wanted = network.read_and_answer(x, start=len(plan.phase(epoch).prefix))
            assert all(torch.equal(answer(x)[1], wanted[1]) for _ in range(OFTEN + 1))
    assert backend.calls == CAPTURE
    assert notes == answer.refusals == ["evaluation runs without a captured graph: RuntimeError: no memory"]


@pytest.mark.parametrize("room", [True, False])
def test_on_a_gpu_a_graph_leaves_a_shorter_batch_its_memory(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    notes: list[str] = []
    backend = Recorder()
    network, plan = made(toy_recipe)
    monkeypatch.setattr(device_memory, "untaken_memory", lambda _: plan.memory.activations // 2 - (not room))
    with on_a_gpu_that_is_not_there():
        answer = EvaluationForward(there(network, plan).network.eval(), plan, FAKE, backend=backend, note=notes.append)
        x = torch.empty(plan.batch_size, 3, 16, 16, device=FAKE)
        with torch.inference_mode():
            for _ in range(OFTEN + 1):
                answer(x)
    assert backend.calls == ([*CAPTURE, "replay", "replay"] if room else [])
    assert [note.partition(":")[0] for note in notes] == ([] if room else ["evaluation runs without a captured graph"])


@pytest.mark.parametrize(("images", "passed"), [(32, 32), (17, 32), (16, 16), (9, 16), (3, 4), (1, 1), (40, 40)])
def test_on_a_gpu_few_sizes_of_batches_pass_the_network(toy_recipe: Path, images: int, passed: int) -> None:
    """A full batch has 32; what is filled up is cut off again."""
    network, plan = made(toy_recipe, "data.batch_size=32")
    seen: list[tuple[int, ...]] = []
    with on_a_gpu_that_is_not_there():
        answer = EvaluationForward(there(network, plan).network.eval(), plan, FAKE)
        network.stages["stem"].register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))
        with torch.inference_mode():
            features, logits = answer(torch.empty(images, 3, 16, 16, device=FAKE))
    assert seen == [(passed, 3, 16, 16)]
    assert (len(features), tuple(logits.shape)) == (images, (images, 4))
    with torch.inference_mode():
        assert len(answering(toy_recipe, "data.batch_size=32")[0](torch.zeros(images, 3, 16, 16))[1]) == images


@dataclass
class _Addresses(Recorder):
    """Holds replays to the addresses that the network's tensors had when they were captured."""

    network: Network | None = None
    replays: int = 0
    known: list[dict[str, int]] = field(default_factory=list)

    def capture(self, run: Callable[[], None]) -> Again:
        own, first = self.network, {}
        assert own is not None

        def again() -> None:
            now = {name: tensor.data_ptr() for name, tensor in own.tensors().items()}
            assert first.setdefault("addresses", now) == now
            self.replays += 1
            run()

        return super().capture(again)


def test_a_run_that_answers_by_a_graph_has_the_bits_of_one_that_does_not(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two phases, a running mean of the weights, and the best epoch at the end; no tensor moves while a graph of it is there."""
    monkeypatch.setattr(evaluation_forward, "OFTEN", 2)
    found = []
    for captures in (True, False):
        mine = training(
            toy_recipe, LATE_STEM, "optimizer={name='adamw', ema=0.9}", "data.batch_size=8", "evaluation.test='end'"
        )
        backend = _Addresses(network=mine.network)
        mine.fit._forward._backend = backend if captures else None
        epochs = list(mine.fit.epochs())
        replayed = backend.replays
        best = mine.fit.evaluate_best(epochs[-1])
        found.append([(epoch.validation, epoch.test) for epoch in (*epochs, best)])
        if captures:
            assert 0 < replayed < backend.replays
            assert backend.calls.count("capture") == backend.calls.count("release") == 3
    assert found[0] == found[1]

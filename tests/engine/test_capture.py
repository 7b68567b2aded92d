"""When a step is warmed up, captured, replayed, released or refused, by a stand-in for the device that keeps a record.

The stand-in's graph carries the captured call out again at every replay, on the captured buffers, so a replayed run must have
the bits of one that is not. What only a CUDA device can show is in test_cuda.py.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from toy_step import LATE_STEM, Again, Recorder, addresses, assert_same, batch, copies, group, made, table, train
from toy_training import CPU
from toy_two_processes import Remembering

from tlkit import tasks
from tlkit.engine import transfer
from tlkit.engine.epoch_steps import in_pieces
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step.graph import Captured, CudaBackend
from tlkit.engine.step.step import Step
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat

WARM = ["warm up"] * 3
CAPTURE = ["capture", "replay"]


def capturing(
    recipe: Path, *settings: str, compute_format: ComputeFormat = PLAIN_FORMAT, failing: dict[int, Exception] | None = None
) -> tuple[Captured, Recorder, list[str]]:
    network, plan = made(recipe, *settings, compute_format=compute_format)
    notes: list[str] = []
    backend = Recorder(failing or {})
    return Captured(Step(network, plan, CPU, static=True), backend, note=notes.append), backend, notes


def eager(recipe: Path, *settings: str, compute_format: ComputeFormat = PLAIN_FORMAT) -> Step:
    network, plan = made(recipe, *settings, compute_format=compute_format)
    return Step(network, plan, CPU)


def partial(step: Step, epoch: int) -> list[tuple[Tensor, Tensor]]:
    """The last group of an epoch: a batch fewer than full, the last one short."""
    full = [batch(step.network, step.plan, epoch, seed=900 + at) for at in range(step.plan.tables.optimizer.accumulate - 1)]
    return [*full[:-1], batch(step.network, step.plan, epoch, images=8, seed=999)]


def two_epochs(step: Step | Captured, *, steps: int = 6) -> None:
    """Two phases of full groups, each with a partial one in the middle and at its end."""
    whole = step.step if isinstance(step, Captured) else step
    torch.manual_seed(0)  # dropout
    for epoch in (1, 2):
        step.begin_(epoch)
        train(step, steps=1, epoch=epoch)
        step(partial(whole, epoch))
        train(step, steps=steps - 1, epoch=epoch, first=1)
        step(partial(whole, epoch))


MIXED = ComputeFormat("bfloat16", "channels_last")
ALL = ("clip_norm=0.1", "ema=0.99", "accumulate=3")


@pytest.mark.parametrize(
    ("optimizer", "more", "compute_format"),
    [
        ("sgd", (), PLAIN_FORMAT),
        ("sgd", ALL, MIXED),
        ("plain sgd", ALL, PLAIN_FORMAT),
        ("nesterov", ALL, MIXED),
        ("adam", ALL, PLAIN_FORMAT),
        ("adamw", (), MIXED),
        ("adamw", ALL, PLAIN_FORMAT),
    ],
)
def test_two_phases_have_the_bits_of_steps_without_a_graph(
    toy_recipe: Path, optimizer: str, more: tuple[str, ...], compute_format: ComputeFormat
) -> None:
    settings = (table(optimizer, *more), LATE_STEM, "head.options.dropout=0.3")
    captured, backend, notes = capturing(toy_recipe, *settings, compute_format=compute_format)
    plain = eager(toy_recipe, *settings, compute_format=compute_format)
    for step in (captured, plain):
        two_epochs(step)
    captured.release()
    phase = [*WARM, *CAPTURE, "replay", "replay", "release"]
    assert backend.calls == [*phase, *phase]
    assert (notes, captured.reason) == ([], None)
    assert_same(copies(captured.step), copies(plain))
    assert captured.step.sums() == plain.sums()


def test_parts_of_a_batch_that_memory_has_no_room_for_are_captured_together(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("sgd", "accumulate=2"), "freeze={block2=true}", 'backbone.batch_norm="running"')
    step, backend = Step(copy.deepcopy(network), plan, CPU), Recorder()
    captured = Captured(Step(network, plan, CPU, static=True), backend, note=pytest.fail, pieces=3)
    for each in (step, captured):
        each.begin_(1)
        for at in range(6):
            batches = group(network, plan, seed=at)
            if at == 1:  # the last of an epoch
                batches = [(x[:9], targets[:9]) for x, targets in batches]
            each(in_pieces(batches, 3))
    assert backend.calls == [*WARM, *CAPTURE, "replay"]
    assert_same(copies(captured.step), copies(step))


def test_a_graph_lives_through_the_epochs_of_its_phase(toy_recipe: Path) -> None:
    captured, backend, _ = capturing(toy_recipe, "schedule.epochs=3", LATE_STEM)
    for epoch in (1, 2, 3):
        captured.begin_(epoch)
        train(captured, steps=4, epoch=epoch)
        assert captured.captured
    assert backend.calls == [*WARM, *CAPTURE, "release", *WARM, *CAPTURE, *["replay"] * 4]


def test_a_phase_that_is_shorter_than_the_warm_up_is_never_captured(toy_recipe: Path) -> None:
    captured, backend, notes = capturing(toy_recipe, LATE_STEM)
    for epoch in (1, 2):
        captured.begin_(epoch)
        train(captured, steps=2, epoch=epoch)
    assert backend.calls == ["warm up"] * 4
    assert notes == []
    assert not captured.captured


def test_a_replay_reads_the_batch_that_it_is_given_and_keeps_none_of_it(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, copy = [], Tensor.copy_

    def copy_(self: Tensor, source: Tensor, *, non_blocking: bool = False) -> Tensor:
        copied.append(non_blocking)
        return copy(self, source)

    captured, _, _ = capturing(toy_recipe, compute_format=ComputeFormat(layout="channels_last"))
    captured.begin_(1)
    train(captured, steps=4)
    monkeypatch.setattr(Again, "replay", lambda self: None)
    monkeypatch.setattr(Tensor, "copy_", copy_)
    own = [tensor for pair in captured._inputs for tensor in pair]
    at = [tensor.data_ptr() for tensor in own]
    for seed in (50, 51):
        given = batch(captured.step.network, captured.step.plan, seed=seed)
        copied.clear()
        captured([given])
        assert copied == [True, True], "the host waits for no copy"
        assert [tensor.data_ptr() for tensor in own] == at
        assert all(torch.equal(mine, its) for mine, its in zip(own, given, strict=True))
        assert own[0].stride() == given[0].stride()


def test_a_batch_of_another_kind_runs_without_the_graph(toy_recipe: Path) -> None:
    captured, backend, _ = capturing(toy_recipe)
    captured.begin_(1)
    train(captured, steps=4)
    before = list(backend.calls)
    network, plan = captured.step.network, captured.step.plan
    captured([batch(network, plan, soft=True)])
    x, labels = batch(network, plan)
    captured([(x[:, :, :8, :8], labels)])
    assert backend.calls == before
    captured([batch(network, plan)])
    assert backend.calls == [*before, "replay"]


def test_every_address_is_the_same_from_the_capture_to_the_phases_end(toy_recipe: Path) -> None:
    captured, _, _ = capturing(toy_recipe, table("adamw", *ALL), "schedule.epochs=3")
    captured.begin_(1)
    train(captured, steps=4)
    before = addresses(captured.step)
    for epoch in (1, 2, 3):
        captured.begin_(epoch)
        train(captured, steps=2, epoch=epoch)
        captured(partial(captured.step, epoch))
        with captured.step.averaged():
            captured.step.network(torch.ones(2, 3, 16, 16))
        assert addresses(captured.step) == before


def test_adam_is_said_to_be_capturable_only_while_it_is_captured(toy_recipe: Path) -> None:
    captured, backend, _ = capturing(toy_recipe, table("adam"))
    backend.optimizer = captured.step.optimizer
    captured.begin_(1)
    train(captured, steps=5)
    assert backend.seen == [True]
    assert {each["capturable"] for each in captured.step.optimizer.param_groups} == {False}


# Refusals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore"), "not permitted when stream is"),
        (torch.OutOfMemoryError("CUDA out of memory."), "OutOfMemoryError: CUDA out of memory."),
        (ValueError(), "ValueError: no word"),
    ],
)
def test_a_capture_that_fails_leaves_its_phase_to_steps_and_is_tried_again_in_the_next(
    toy_recipe: Path, error: Exception, said: str
) -> None:
    settings = (table("adamw", "ema=0.9"), LATE_STEM)
    captured, backend, notes = capturing(toy_recipe, *settings, failing={0: error})
    plain = eager(toy_recipe, *settings)
    torch.manual_seed(0)
    captured.begin_(1)
    train(captured, steps=6)
    assert not captured.captured
    assert said in captured.reason
    assert "more" not in captured.reason
    captured.begin_(2)
    assert captured.reason is None
    train(captured, steps=6, epoch=2)
    torch.manual_seed(0)
    for epoch in (1, 2):
        plain.begin_(epoch)
        train(plain, steps=6, epoch=epoch)
    assert backend.calls == [*WARM, "capture", *WARM, *CAPTURE, "replay", "replay"]
    assert len(notes) == 1
    assert "step by step" in notes[0]
    assert said in notes[0]
    assert_same(copies(captured.step), copies(plain))


def test_the_same_reason_is_told_once(toy_recipe: Path) -> None:
    captured, _, notes = capturing(toy_recipe, LATE_STEM, failing={0: RuntimeError("no"), 1: RuntimeError("no")})
    for epoch in (1, 2):
        captured.begin_(epoch)
        train(captured, steps=5, epoch=epoch)
        assert captured.reason == "RuntimeError: no"
    assert len(notes) == 1


def test_an_interrupt_while_capturing_is_no_refusal(toy_recipe: Path) -> None:
    captured, backend, notes = capturing(toy_recipe)
    backend.failing[0] = KeyboardInterrupt()
    captured.begin_(1)
    train(captured, steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(captured, steps=1)
    assert notes == []


@pytest.mark.parametrize(("more", "said"), [(0, "head.aside"), (1, "head.aside and 1 more"), (2, "head.aside and 2 more")])
def test_a_parameter_that_the_loss_does_not_reach_refuses_capture(toy_recipe: Path, more: int, said: str) -> None:
    network, plan = made(toy_recipe)
    names = ["aside", *(f"aside{number}" for number in range(more))]
    for name in names:
        network.head.register_parameter(name, nn.Parameter(torch.ones(3)))
    bias = next(p for p in plan.parameters if p.name == "head.bias")
    aside = [replace(bias, name=f"head.{name}", shape=(3,)) for name in names]
    notes: list[str] = []
    backend = Recorder()
    step = Step(network, replace(plan, parameters=(*plan.parameters, *aside)), CPU, static=True)
    captured = Captured(step, backend, note=notes.append)
    captured.begin_(1)
    train(captured, steps=6)
    assert backend.calls == WARM
    assert notes == [f"trains step by step, without a captured graph: {said} should train and took no part in the loss"]
    assert captured.refusals == notes


class Asking(nn.Module):
    """A head that looks at its input."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = head.weight, head.bias

    def forward(self, x: Tensor) -> Tensor:
        scale = 1.0 if x.detach().sum().item() < 1e9 else 0.5
        return nn.functional.linear(x, self.weight, self.bias) * scale


def test_a_module_that_reads_from_the_device_refuses_before_the_capture(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    network.head = Asking(network.head)
    notes: list[str] = []
    backend = Recorder()
    captured = Captured(Step(network, plan, CPU, static=True), backend, note=notes.append)
    captured.begin_(1)
    train(captured, steps=6)
    assert backend.calls == WARM
    assert notes[0].endswith(": its forward or backward pass waits for the device at aten._local_scalar_dense.default")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_optimizer_without_fused_kernels_is_refused_at_once(toy_recipe: Path, optimizer: str) -> None:
    captured, backend, notes = capturing(toy_recipe, table(optimizer))
    for each in captured.step.optimizer.param_groups:
        each["fused"] = False
    captured.begin_(1)
    train(captured, steps=5)
    assert backend.calls == []
    kind = {"sgd": "SGD", "adamw": "AdamW"}[optimizer]
    assert captured.reason == f"{kind} has no fused kernel here, and the others read rates back"
    assert len(notes) == 1


def test_a_task_whose_losses_run_step_by_step_is_refused_at_once(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured, backend, notes = capturing(toy_recipe)
    monkeypatch.setattr(tasks, "get", lambda name: SimpleNamespace(eager=f"the losses of {name} loop"))
    captured.begin_(1)
    train(captured, steps=5)
    assert (captured.reason, backend.calls, len(notes)) == ("the losses of single_label loop", [], 1)


def test_only_full_groups_count_as_warm_up(toy_recipe: Path) -> None:
    captured, backend, _ = capturing(toy_recipe, table("sgd", "accumulate=3"))
    captured.begin_(1)
    for _ in range(5):
        captured(partial(captured.step, 1))
    assert backend.calls == []
    for _ in range(4):
        captured(group(captured.step.network, captured.step.plan))
    assert backend.calls == [*WARM, *CAPTURE]


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_of_several_captures_its_part_of_full_batches_and_steps_know_the_whole(toy_recipe: Path, fails: bool) -> None:
    """Half of each batch of sixteen; a shorter batch is not captured."""
    steps: list[Step | Captured] = []
    backend = Recorder({0: RuntimeError("no")} if fails else {})
    for capture in (True, False):
        network, plan = made(toy_recipe, table("sgd"))
        step = Step(network, plan, CPU, static=True, ranks=Remembering())
        steps.append(Captured(step, backend, note=lambda _: None) if capture else step)
        torch.manual_seed(0)  # dropout
        steps[-1].begin_(1)
        for images in (8, 4, 8, 8, 8, 8, 4, 8):
            step.set_rates_(1.0)
            steps[-1]([batch(network, plan, images=images)], Whole((2 * images,), (images,)))
    assert backend.calls == [*WARM, *(["capture"] if fails else [*CAPTURE, "replay", "replay"])]
    captured, plain = steps
    assert_same(copies(captured.step), copies(plain))


@dataclass(frozen=True)
class Refused(Remembering):
    """A process of two, the other of which refuses a capture when it is asked for the time given."""

    at: int = 1
    asked: list[bool] = field(default_factory=list)

    def any(self, flag: bool) -> bool:
        self.asked.append(flag)
        return flag or len(self.asked) >= self.at


@pytest.mark.parametrize(("at", "calls"), [(1, WARM), (2, [*WARM, "capture", "release"])])
def test_where_another_process_cannot_capture_none_does(toy_recipe: Path, at: int, calls: list[str]) -> None:
    network, plan = made(toy_recipe)
    backend, notes, ranks = Recorder(), [], Refused(at=at)
    captured = Captured(Step(network, plan, CPU, static=True, ranks=ranks), backend, note=notes.append)
    captured.begin_(1)
    train(captured, steps=6)
    assert notes == ["trains step by step, without a captured graph: another process of the run cannot capture it"]
    assert (backend.calls, captured.captured, ranks.asked) == (calls, False, [False] * at)
    assert captured.step.sums().predictions == 6 * 16


class Ending(Recorder):
    """Runs what it captures, as a device does, and fails again where that failed, as ending the capture does."""

    def capture(self, run: Callable[[], None]) -> "Again":
        self.calls.append("capture")
        try:
            run()
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


class Broken(nn.Module):
    """A head that raises when it is run the fourth time, the first that is captured."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = head.weight, head.bias
        self.left = 3

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == -1:
            raise ValueError("the fourth call is one too many")
        return nn.functional.linear(x, self.weight, self.bias)


def test_a_note_names_what_failed_in_a_capture_and_not_what_failed_after_it(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    network.head = Broken(network.head)
    notes: list[str] = []
    captured = Captured(Step(network, plan, CPU, static=True), Ending(), note=notes.append)
    captured.begin_(1)
    train(captured, steps=5)
    assert captured.reason == "ValueError: the fourth call is one too many"
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("data.batch_size=100",), "a batch would be 100 images, and there are 72"),
        (("data.batch_size=16", table("sgd", "accumulate=5")), "5 accumulated batches would be 80 images, and there are 72"),
    ],
)
def test_images_that_fill_no_group_are_said_to_be_why_nothing_is_captured(
    toy_recipe: Path, settings: tuple[str, ...], said: str
) -> None:
    captured, backend, notes = capturing(toy_recipe, *settings)
    captured.begin_(1)
    train(captured, steps=5)
    assert backend.calls == []
    assert [line.endswith(said) for line in notes] == [True]
    assert said in captured.refusals[0]


class Generator:
    """A stand-in for a device's generator, in the middle of a capture."""

    def __init__(self) -> None:
        self.state = "of the capture"

    def clone_state(self) -> str:
        return "before"

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


# Torch's version, whether the capture was ended -> what is freed by hand
@pytest.mark.parametrize(
    ("version", "ended", "freed"),
    [
        ("2.9.1", False, ["end 1 pool", "release 1 pool"]),
        ("2.13.0+cu126", False, ["end 1 pool", "release 1 pool"]),
        ("2.13.0+cu126", True, []),
        ("2.14.1+cu130", False, []),
    ],
)
def test_a_capture_that_fails_on_the_second_gpu_leaves_the_program_on_the_first_and_its_memory_free(
    monkeypatch: pytest.MonkeyPatch, version: str, ended: bool, freed: list[str]
) -> None:
    """By a stand-in for torch.cuda: setting a stream also sets its device."""
    now = {"device": 0, "streams": {0: "main 0", 1: "main 1"}}
    calls: list[str] = []
    generators = Generator(), Generator()

    class Graph:
        def reset(self) -> None:
            now["reset"] = True

        def pool(self) -> str:
            if not ended:
                raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
            return "pool"

    @contextmanager
    def graph(made: object, *, stream: str, **how: str) -> Iterator[None]:
        now["how"] = type(made), how
        set_stream(stream)
        yield
        set_stream("main 1")
        set_stream("main 0")

    def set_stream(stream: str) -> None:
        now["device"] = int(stream[-1])
        now["streams"][now["device"]] = stream

    def current(device: torch.device | None = None) -> str:
        return now["streams"][now["device"] if device is None else device.index]

    def end(device: int, pool: str) -> None:
        calls.append(f"end {device} {pool}")
        if version.startswith("2.13"):
            raise RuntimeError("not recording to this pool")

    stand_ins = {
        "CUDAGraph": Graph, "graph": graph, "set_stream": set_stream, "current_stream": current, "graph_pool_handle": lambda: "pool",
        "default_generators": generators, "Stream": lambda _: "side 1",
    }  # fmt: skip
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
    release = "_cuda_releasePool"
    monkeypatch.setattr(torch._C, release, lambda device, pool: calls.append(f"release {device} {pool}"), raising=False)
    backend = CudaBackend(torch.device("cuda:1"))

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        backend.capture(fails)
    assert now.pop("how") == (Graph, {"pool": "pool", "capture_error_mode": "thread_local"})
    assert now == {"device": 0, "streams": {0: "main 0", 1: "main 1"}, "reset": True}
    assert calls == freed
    assert generators[1].state == ("before" if freed else "of the capture")
    assert generators[0].state == "of the capture"


def test_a_graph_is_released_when_its_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for torch.cuda, whose present device is the second."""
    calls: list[str] = []

    class Graph:
        def replay(self) -> None:
            calls.append("replay")

        def reset(self) -> None:
            calls.append("reset")

    class Drawing(Generator):
        def clone_state(self) -> str:
            calls.append("the second's generator")
            return super().clone_state()

    @contextmanager
    def graph(made: Graph, **_: object) -> Iterator[None]:
        calls.append("begin")
        yield
        calls.append("end")

    stand_ins = {
        "CUDAGraph": Graph, "graph": graph, "current_stream": lambda device=None: "main", "graph_pool_handle": lambda: "pool",
        "current_device": lambda: 1, "default_generators": (None, Drawing()), "Stream": lambda _: "side",
        "synchronize": lambda device: calls.append(f"wait for {device}"),
    }  # fmt: skip
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    captured = CudaBackend(torch.device("cuda")).capture(lambda: calls.append("run"))
    captured.replay()
    captured.release()
    assert calls == ["the second's generator", "begin", "run", "end", "replay", "wait for cuda", "reset"]


def test_all_captures_of_a_device_share_one_side_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream has a memory pool of its own."""
    streams: list[str] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            streams.append(str(device))

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    transfer.side_stream.cache_clear()
    try:
        for name in ("cuda:0", "cuda:1", "cuda:0"):
            CudaBackend(torch.device(name))
        transfer.side_stream(torch.device("cuda:0"), "capture")  # as others ask for it
    finally:
        transfer.side_stream.cache_clear()
    assert streams == ["cuda:0", "cuda:1"]


def test_a_step_that_fails_beside_the_main_stream_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is given to what comes next, and it may have begun to write there."""
    calls: list[str] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: "Stream") -> None:
            calls.append(f"{self.name} waits for {other.name}")

    monkeypatch.setattr(transfer, "side_stream", lambda *_: Stream("side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream("main"))
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    with pytest.raises(MemoryError), CudaBackend(torch.device("cuda")).warm_up():
        raise MemoryError
    assert calls == ["side waits for main", "main waits for side"]

"""A fixed prefix that is captured gives what it gives without; what cannot be captured runs as it is."""

import torch
from torch import Tensor, nn
from toy_step import Recorder

from tlkit.engine.captured_call import CapturedCall
from tlkit.engine.prefix.prefix import Prefix, build
from tlkit.network.network import Network
from tlkit.record.formats import PrefixPlan


def prefix(backend: Recorder | None, notes: list[str] | None = None, *, last: nn.Module | None = None) -> Prefix:
    torch.manual_seed(0)
    stages = [nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), last or nn.ReLU())]
    for stage in stages:
        stage.eval()
    return Prefix(stages, pools=False, plan=PrefixPlan(chunk=4), backend=backend, note=(notes or []).append)


def test_captured_chunks_are_the_eager_ones_and_keep_their_memory() -> None:
    backend, x = Recorder(), torch.randn(3, 4, 3, 6, 6)
    captured, eager = prefix(backend), prefix(None)
    outputs = [captured(each) for each in x]
    short = captured(x[0, :2])
    for found, each in zip(outputs, x, strict=True):
        assert torch.equal(found, eager(each))
    assert torch.equal(short, eager(x[0, :2]))
    assert backend.calls == ["warm up", "capture", *["replay"] * 4]


def test_each_range_of_stages_has_a_graph_of_its_own() -> None:
    backend, x = Recorder(), torch.randn(4, 3, 6, 6)
    captured, eager = prefix(backend), prefix(None)
    between = captured(x, stop=1)
    assert torch.equal(between, eager(x, stop=1))
    assert torch.equal(captured(between, start=1), eager(x))
    assert backend.calls == ["warm up", "capture", "replay"] * 2


def test_a_prefix_that_is_built_for_a_backend_is_captured_or_says_why_not() -> None:
    network, x = Network({"stem": nn.Conv2d(3, 4, 3)}, nn.Identity()).eval(), torch.randn(4, 3, 6, 6)
    backend, failing, notes = Recorder(), Recorder(failing={0: RuntimeError("no memory")}), []
    for each in (backend, failing):
        build(network, 1, PrefixPlan(chunk=4), sample=x[:1], backend=each, note=notes.append)(x)
    assert backend.calls == ["warm up", "capture", "replay"]
    assert notes == ["the fixed prefix runs without a captured graph: RuntimeError: no memory"]


def test_what_cannot_be_captured_runs_as_it_is_and_says_why_once() -> None:
    notes: list[str] = []
    x = torch.randn(4, 3, 6, 6)
    backend = Recorder(failing={0: RuntimeError("no memory\nmore")})
    captured = CapturedCall(lambda each: (each * 2,), backend, x, what="it", note=notes.append)
    for _ in range(3):
        assert torch.equal(*captured(x), x * 2)
    assert notes == ["it runs without a captured graph: RuntimeError: no memory"]


def test_a_function_that_reads_from_the_device_is_not_captured() -> None:
    notes: list[str] = []

    def asking(x: Tensor) -> tuple[Tensor, ...]:
        return (x if float(x.sum()) > 0 else -x,)

    backend = Recorder()
    CapturedCall(asking, backend, torch.ones(4), what="it", note=notes.append)
    assert backend.calls == ["warm up"]
    assert "waits for the device" in notes[0]


def test_a_function_for_which_an_input_more_is_too_much_memory_runs_as_it_is() -> None:
    notes: list[str] = []
    calls: list[int] = []

    def short(x: Tensor) -> tuple[Tensor, ...]:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return (x + 1,)

    captured = CapturedCall(short, Recorder(), torch.zeros(4), what="it", note=notes.append)
    assert captured(torch.zeros(4))[0].tolist() == [1] * 4
    assert notes == ["it runs without a captured graph: OutOfMemoryError: CUDA out of memory."]


def test_an_input_of_another_shape_is_not_given_to_the_graph() -> None:
    backend = Recorder()
    captured = CapturedCall(lambda each: (each + 1,), backend, torch.zeros(4), what="it", note=lambda _: None)
    assert captured(torch.zeros(2))[0].tolist() == [1, 1]
    assert "replay" not in backend.calls


def test_evaluation_may_come_before_training() -> None:
    backend, x = Recorder(), torch.randn(2, 4, 3, 6, 6)
    captured, eager = prefix(backend), prefix(None)
    with torch.inference_mode():
        first = captured(x[0] * 1)
    assert torch.equal(first, eager(x[0]))
    assert torch.equal(captured(x[1]), eager(x[1]))

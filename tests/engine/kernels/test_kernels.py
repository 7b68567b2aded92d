"""Every kernel computes the gradient that its mathematics says: against float64, over many shapes; and autograd agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tlkit.engine.formats import DTYPES
from tlkit.engine.kernels import catalogue, function, functions, selection, windows
from tlkit.engine.kernels.calls import read, recorded
from tlkit.engine.kernels.function import Gradients
from tlkit.engine.kernels.kernel import Kernel
from tlkit.errors import TlkitError
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat, MemoryFormat
from tlkit.record.kernels import NATIVE, ChosenKernel, Convolution, Part

CPU = torch.device("cpu")
DEPTHWISE = Convolution((6, 9, 8), (6, 1, 5, 5), (2, 2), (2, 2), (1, 1), 6, PLAIN_FORMAT)
PARTS: tuple[Part, Part] = ("input", "weight")


@st.composite
def convolutions(draw: st.DrawFn, **limits: int) -> Convolution:
    """Odd and even sizes, kernels that are not square, padding, strides, dilation, groups and channel multipliers, up to limits."""
    most = {"taps": 7, "stride": 3, "padding": 3, "dilation": 2, "groups": 4} | limits
    groups, inner, outer = draw(st.integers(1, most["groups"])), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows, columns = ({name: draw(st.integers(name != "padding", high)) for name, high in most.items()} for _ in range(2))
    height, width = (
        max(1, each["dilation"] * (each["taps"] - 1) + 1 - 2 * each["padding"]) + draw(st.integers(0, 9))
        for each in (rows, columns)
    )
    stride, padding, dilation = ((rows[name], columns[name]) for name in ("stride", "padding", "dilation"))
    return Convolution(
        (groups * inner, height, width), (groups * outer, inner, rows["taps"], columns["taps"]), stride, padding, dilation,
        groups, draw(st.sampled_from(COMPUTE_FORMATS)),
    )  # fmt: skip


def expected(convolution: Convolution, part: Part, operands: selection.Operands) -> Tensor:
    """The gradient by autograd, in float64."""
    image, weight = operands.image.double().requires_grad_(), operands.weight.double().requires_grad_()
    output = nn.functional.conv2d(
        image, weight, None, convolution.stride, convolution.padding, convolution.dilation, convolution.groups
    )
    return torch.autograd.grad(output, image if part == "input" else weight, operands.grad.double())[0]


LIBRARY = (NATIVE, "other layout")


def untouched(weight: Tensor) -> bool:
    """Whether a tap of a kernel never meets the picture. In bfloat16 torch 2.14.1 may leave its gradient as the memory was: docs/notes."""
    return bool((weight == 0).flatten(0, 1).all(0).any())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(convolutions() | convolutions(groups=1) | convolutions(groups=1, taps=1, padding=0), st.integers(1, 3))
def test_every_kernel_is_right_for_every_convolution_that_it_fits(convolution: Convolution, images: int) -> None:
    operands = selection.operands(convolution, images)
    for part in PARTS:
        exact = expected(convolution, part, operands)
        for kernel in catalogue.candidates(convolution, part):
            if part == "weight" and kernel.name in LIBRARY and untouched(exact):
                continue
            found = kernel.compute(convolution, *operands.of(part))
            assert found.dtype == DTYPES[convolution.compute_format.precision], kernel.name
            allowed = 4e-3 if found.dtype == torch.bfloat16 else 1e-5
            assert selection.relative_error(found, exact) <= allowed, kernel.name


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_products_that_cancel_are_rounded_once(layout: MemoryFormat) -> None:
    """1 1/128 squared less 1 1/64, of which bfloat16 would leave nothing."""
    convolution = Convolution((2, 3, 1), (2, 1, 1, 1), (1, 1), (0, 0), (1, 1), 2, ComputeFormat("bfloat16", layout))
    image, grad = (
        torch.tensor(each).view(1, 1, 3, 1).repeat(1, 2, 1, 1).bfloat16()
        for each in ([1 + 2**-7, 1.0, 0.0], [1 + 2**-7, -1 - 2**-6, 0.0])
    )
    for kernel in catalogue.candidates(convolution, "weight"):
        assert kernel.compute(convolution, image, grad).flatten().tolist() == [2**-14] * 2, kernel.name


def test_windows_add_up_parts_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_OUTPUTS", 2 * 5 * 4)
    operands = selection.operands(DEPTHWISE, 7)
    found = windows.gradient_of_weight(DEPTHWISE, *operands.of("weight"))
    assert selection.relative_error(found, expected(DEPTHWISE, "weight", operands)) <= 1e-5


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 8), st.integers(3, 8), st.integers(0, 2), st.integers(0, 2), st.integers(1, 3))
def test_winograd_is_right_for_every_picture(height: int, width: int, above: int, left: int, images: int) -> None:
    """Of few channels, for which it is not tried."""
    form = ComputeFormat("float32", "channels_last")
    convolution = Convolution((3, height, width), (2, 3, 3, 3), (1, 1), (above, left), (1, 1), 1, form)
    operands = selection.operands(convolution, images)
    for part in PARTS:
        found = catalogue.get("winograd", part).compute(convolution, *operands.of(part))
        assert selection.relative_error(found, expected(convolution, part, operands)) <= 1e-5


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(convolutions(), st.integers(1, 3))
def test_what_is_compared_with_float64_is_the_gradient_by_autograd(convolution: Convolution, images: int) -> None:
    operands = selection.operands(convolution, images)
    for part in PARTS:
        native = catalogue.candidates(convolution, part)[0]
        check = selection.Check(convolution, part, operands, native.compute(convolution, *operands.of(part)))
        assert check.error(expected(convolution, part, operands)) < 1e-12


@pytest.mark.parametrize("kernel", catalogue.KERNELS, ids=lambda each: f"{each.part}: {each.name}")
def test_kernel_fits_some_convolution_and_is_found_by_its_name(kernel: Kernel) -> None:
    half, single = (ComputeFormat(precision, "channels_last") for precision in ("bfloat16", "float32"))
    depthwise = replace(DEPTHWISE, image=(6, 6, 6), compute_format=half)
    pixels = replace(depthwise, weight=(4, 6, 1, 1), padding=(0, 0), groups=1)
    small = replace(pixels, weight=(4, 6, 3, 3))
    wide = Convolution((256, 7, 7), (256, 256, 3, 3), (1, 1), (1, 1), (1, 1), 1, single)
    assert any(kernel.fits(each) for each in (depthwise, replace(depthwise, compute_format=single), pixels, small, wide))
    assert catalogue.get(kernel.name, kernel.part) is kernel


def test_unknown_kernel_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(TlkitError, match='no kernel "fast" for the gradient of the input') as error:
        catalogue.get("fast", "input")
    assert "phases" in str(error.value.hints)


@pytest.mark.parametrize("trains", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("names", [("phases", "windows"), ("native", "windows"), ("dilated", "products")])
def test_gradients_pass_gradcheck(names: tuple[str, str], trains: tuple[bool, bool]) -> None:
    small = replace(DEPTHWISE, image=(2, 5, 4), weight=(2, 1, 5, 4), padding=(2, 1), groups=2)
    generator = torch.Generator().manual_seed(0)
    image, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, *small.image), small.weight, (2,))
    )
    kernels = Gradients(catalogue.get(names[0], "input"), catalogue.get(names[1], "weight"))
    image.requires_grad_(trains[0])
    weight.requires_grad_(trains[1])
    bias.requires_grad_(trains[1])

    def convolve(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return function.convolve(x, w, b, small, kernels)

    assert torch.autograd.gradcheck(convolve, (image, weight, bias))
    with pytest.raises(RuntimeError, match="no gradient of its gradient"):
        torch.autograd.gradgradcheck(convolve, (image, weight, bias))


class Nested(nn.Module):
    """A convolution by a module, one by the function, with a stride and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding="same", bias=False)
        self.second = nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(self.second(self.first(x)), weight=self.second.weight, groups=6)


@pytest.mark.parametrize("compute_format", COMPUTE_FORMATS, ids=str)
def test_network_gets_the_gradients_of_the_kernels(compute_format: ComputeFormat) -> None:
    torch.manual_seed(0)
    network = Nested()
    x = torch.randn(2, 3, 18, 15).contiguous(
        memory_format=torch.channels_last if compute_format.layout == "channels_last" else torch.contiguous_format
    )
    half = torch.autocast("cpu", torch.bfloat16, enabled=compute_format.precision == "bfloat16")
    gradients, outputs = [], []
    with half, recorded() as found:
        network(x)
    assert [(str(convolution.weight[2]), part, count) for (convolution, part), count in found.items()] == [
        ("3", "weight", 1), ("5", "input", 1), ("5", "weight", 1), ("5", "input", 1), ("5", "weight", 1),
    ]  # fmt: skip
    assert {convolution.compute_format for convolution, _ in found} == {compute_format}
    chosen = [
        ChosenKernel(convolution, part, {"input": "phases", "weight": "windows"}[part])
        for convolution, part in found
        if convolution.stride == (2, 2)
    ]
    for kernels in ([], chosen):
        network.zero_grad()
        with half, functions.faster(CPU, conv2d=function.conv2d(kernels)):
            output = network(x)
        output.float().square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
        outputs.append(output.detach())
    assert torch.equal(*outputs)
    tolerance = 3e-2 if compute_format.precision == "bfloat16" else 1e-5
    for own, other in zip(*gradients, strict=True):
        assert own.dtype == other.dtype == torch.float32
        assert selection.relative_error(other, own.double()) < tolerance
    with half, functions.faster(CPU, conv2d=function.conv2d(chosen)):
        seen = [network.first(x), network.second(network.first(x))]
    assert ["_Convolve" in each.grad_fn.name() for each in seen] == [False, True]


def test_without_gradients_nothing_is_seen() -> None:
    with torch.no_grad(), recorded() as found:
        Nested()(torch.randn(1, 3, 9, 9))
    assert not found


def test_what_only_the_library_can_compute_is_left_to_it() -> None:
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(3, 3, 2, 2)
    assert read(x, weight) is not None
    assert read(x, weight, padding="same") is None, "more zeros on one side"
    assert read(x[0], weight) is None, "no batch"
    assert read(x.double(), weight.double()) is None
    assert read(x.to("meta"), weight.to("meta")) is None


def test_reading_a_call_casts_nothing() -> None:
    """Most calls have no chosen kernel, and autocast casts them itself."""
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(3, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        call = read(x, weight)
        assert (call.image is x, call.weight is weight) == (True, True)
        part = read(x[:, :, :, ::2], weight)
    assert (call.dtype, call.convolution.compute_format) == (torch.bfloat16, ComputeFormat("bfloat16"))
    assert [each if each is None else each.dtype for each in call.cast()] == [torch.bfloat16, torch.bfloat16, None]
    assert part.convolution.compute_format.layout == "contiguous", "as what autocast makes of it"


def test_the_librarys_kernel_stays_where_no_other_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "WORTHWHILE", 0.0)
    monkeypatch.setattr(selection, "FAR", 0.0)
    times = {"native": 1.0, "windows": 0.5, "other layout": 0.91}
    monkeypatch.setattr(selection, "seconds", lambda kernel, *_, **__: times.get(kernel.name, 2.0))
    found = selection.select(DEPTHWISE, "weight", 2)
    assert (found.kernel, found.seconds, found.native_seconds) == ("windows", 0.5, 1.0)
    assert found.chosen == ChosenKernel(DEPTHWISE, "weight", "windows")
    times["windows"] = 0.95
    assert selection.select(DEPTHWISE, "weight", 2).chosen is None
    times["windows"] = times["other layout"] = 0.5
    assert selection.select(DEPTHWISE, "weight", 2).kernel == "other layout", "of equals, the first of the catalogue"


def test_kernels_that_gain_much_or_nothing_are_tried_only_where_the_library_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "WORTHWHILE", 0.0)
    tried: list[str] = []
    monkeypatch.setattr(selection, "seconds", lambda kernel, *_, **__: tried.append(kernel.name) or 1.0)
    for far, others in ((1e9, {"dilated"}), (0.0, {"dilated", "phases", "other layout"})):
        monkeypatch.setattr(selection, "FAR", far)
        tried.clear()
        selection.select(DEPTHWISE, "input", 2)
        assert set(tried) == {"native"} | others


@pytest.mark.parametrize(("taken", "calls"), [([2.0, 1.0], 1), ([1.2, 1.1, 1.0], 2), ([0.9] * 9, 3)])
def test_a_kernel_that_is_slower_than_the_best_is_not_timed_for_long(
    monkeypatch: pytest.MonkeyPatch, taken: list[float], calls: int
) -> None:
    """Milliseconds of each call, where the fastest kernel so far takes 1."""
    now = [0.0]
    monkeypatch.setattr(selection.clock, "now", lambda: now[0])

    def compute(convolution: Convolution, first: Tensor, second: Tensor) -> Tensor:
        now[0] += taken[made.append(1) or len(made) - 1] / 1000
        return first

    made: list[int] = []
    operands = selection.operands(DEPTHWISE, 1)
    kernel = Kernel("slow", "weight", lambda _: True, compute)
    assert selection.seconds(kernel, DEPTHWISE, operands, best=1e-3) == pytest.approx(min(taken[:calls]) / 1000)
    assert len(made) == calls


def test_a_wrong_kernel_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(convolution: Convolution, first: Tensor, second: Tensor) -> Tensor:
        right = catalogue.get("native", "weight").compute(convolution, first, second)
        right[-1] *= 1 + 1e-5
        return right

    kernel = Kernel("wrong", "weight", lambda _: True, wrong)
    operands = selection.operands(DEPTHWISE, 2)
    native = catalogue.get("native", "weight")
    check = selection.Check(DEPTHWISE, "weight", operands, native.compute(DEPTHWISE, *operands.of("weight")))
    assert check(native)
    assert not check(kernel), "of a channel that is not compared with float64, too"


def test_a_wrong_kernel_of_the_library_lets_no_other_be_wrong() -> None:
    """As where it leaves what the memory held: see docs/notes."""
    operands = selection.operands(DEPTHWISE, 2)
    native = catalogue.get("native", "weight")
    right = native.compute(DEPTHWISE, *operands.of("weight"))
    check = selection.Check(DEPTHWISE, "weight", operands, right * 3)
    assert check(native)
    assert not check(Kernel("wrong", "weight", lambda _: True, lambda *_: right * 2))

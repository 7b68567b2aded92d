"""Functions that a training step computes in another way than the library: the same to rounding, or the same bits."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from toy_training import CPU

from tlkit.engine.kernels import attention, batch_norm, functions, hard_limits
from tlkit.engine.kernels.selection import relative_error

WORSE = 1.5  # times the error of the library's own kernel
HALF, WIDE = torch.bfloat16, torch.float64
LAST = torch.channels_last


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = HALF) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.contiguous(memory_format=LAST) if len(shape) == 4 else x


def gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The output of a function, and its gradients for a gradient that the output has a part in, as in training."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(*inputs)
    assert output.grad_fn is not None
    grad = noise(*output.shape, seed=9).to(output.dtype) + output.detach() / 4
    return [output.detach(), *torch.autograd.grad(output, inputs, grad)]


def assert_as_exact(
    ours: Sequence[Tensor], native: Sequence[Tensor], exact: Sequence[Tensor], *, spacing: float = 2**-9
) -> None:
    for mine, its, true in zip(ours, native, exact, strict=True):
        assert mine.dtype == its.dtype
        assert mine.stride() == its.stride()
        assert relative_error(mine, true) <= WORSE * max(relative_error(its, true), spacing)


# BatchNorm


def normed(x: Tensor, *, function: Callable[..., Tensor | None] = F.batch_norm) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradients, and the running statistics."""
    wide = torch.float64 if x.dtype == WIDE else torch.float32
    channels = x.shape[1]
    weight, bias = torch.linspace(0.5, 2, channels, dtype=wide), torch.linspace(-1, 1, channels, dtype=wide)
    running = torch.zeros(channels, dtype=wide), torch.ones(channels, dtype=wide)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(x, *running, weight, bias, True, 0.1, 1e-5)

    return gradients(run, [x, weight, bias]), list(running)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 12).map(lambda n: 8 * n).filter(lambda c: c % 16), st.integers(1, 4), st.sampled_from([16, 20, 33]),
    st.sampled_from([0.0, 3.0]),
)  # fmt: skip
def test_batch_norm_is_as_exact_as_the_librarys(channels: int, quarter: int, side: int, mean: float) -> None:
    x = noise(4 * quarter, channels, side, side, seed=channels) + mean
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "_WORTHWHILE", 0)
        ours, statistics = normed(x, function=batch_norm.batch_norm)
    native, (native_mean, native_var) = normed(x)
    exact, (exact_mean, exact_var) = normed(x.to(WIDE))
    assert_as_exact(ours, native, exact)
    torch.testing.assert_close(statistics, [native_mean, native_var])
    torch.testing.assert_close([each.to(WIDE) for each in statistics], [exact_mean, exact_var], rtol=1e-5, atol=1e-6)


def test_gradients_of_batch_norm_are_those_of_differences() -> None:
    x = noise(2, 8, 2, 4, dtype=WIDE).requires_grad_()
    weight, bias = torch.linspace(0.5, 2, 8, dtype=WIDE).requires_grad_(), torch.zeros(8, dtype=WIDE).requires_grad_()

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        running = torch.zeros(8, dtype=WIDE), torch.ones(8, dtype=WIDE)
        found: Tensor = batch_norm._BatchNorm.apply(x, weight, bias, *running, 0.1, 1e-5, 4)
        return found

    assert torch.autograd.gradcheck(run, (x, weight, bias))


@pytest.mark.parametrize(
    ("x", "fold"),
    [
        (noise(4, 24, 48, 48), 4),
        (noise(4, 40, 48, 48), 4),
        (noise(4, 8, 48, 48), 4),
        (noise(4, 20, 48, 48), 8),
        (noise(4, 32, 48, 48), 1),  # its channels fill the vectors
        (noise(4, 24, 16, 16), 1),  # too few pixels
        (noise(3, 24, 53, 53), 1),  # an odd number of pixels
        (noise(4, 24, 48, 48).contiguous(), 1),
    ],
    ids=lambda x: str(tuple(x.shape)) if isinstance(x, Tensor) else str(x),
)
def test_as_many_pixels_count_as_one_as_fill_the_vectors(x: Tensor, fold: int) -> None:
    assert batch_norm.pixels(x) == fold


def test_batch_norm_in_evaluation_mode_and_in_float32_is_the_librarys() -> None:
    x = noise(4, 24, 48, 48)
    four = torch.zeros(24), torch.ones(24), torch.ones(24), torch.zeros(24)
    assert batch_norm.batch_norm(x, *four, True, 0.1, 1e-5) is not None
    assert batch_norm.batch_norm(x, *four, False, 0.1, 1e-5) is None
    assert batch_norm.batch_norm(x.float(), *four, True, 0.1, 1e-5) is None
    assert batch_norm.batch_norm(x, None, None, *four[2:], True, 0.1, 1e-5) is None
    assert batch_norm.batch_norm(x, *four[:2], None, None, True, 0.1, 1e-5) is None


# ReLU6 in place


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
def test_limits_in_place_have_the_librarys_bits(dtype: torch.dtype) -> None:
    values = torch.tensor([-math.inf, -1, -0.0, 0, 1e-30, 3, 5.999, 6, 6.001, math.inf, math.nan])
    x = torch.cat([values, torch.randn(500, generator=torch.Generator().manual_seed(0)) * 5]).to(dtype)
    found = {}
    for name, function in (("ours", hard_limits.relu6), ("native", F.relu6)):
        leaf = x.clone().requires_grad_()
        output = function(leaf * 1, True)
        found[name] = output.detach(), *torch.autograd.grad(output, leaf, torch.arange(len(x)).to(dtype))
    for ours, native in zip(found["ours"], found["native"], strict=True):
        torch.testing.assert_close(ours, native, rtol=0, atol=0, equal_nan=True)


def test_limits_in_place_keep_no_copy_of_what_they_overwrite() -> None:
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    x = torch.randn(8, requires_grad=True) * 2
    with functions.faster(CPU), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = nn.ReLU6(inplace=True)(x)
    assert y.data_ptr() == x.data_ptr()
    assert kept == [x.data_ptr()]


def test_limits_of_a_view_change_its_base_as_the_librarys_do() -> None:
    found = []
    for device in (CPU, torch.device("cuda")):  # the second takes no kernel
        leaf = torch.linspace(-8, 8, 12).requires_grad_()
        base = leaf * 1
        with functions.faster(device):
            F.relu6(base.view(3, 4)[1:], inplace=True)
        (gradient,) = torch.autograd.grad((base * torch.arange(12)).sum(), leaf)
        found.append((base.detach(), gradient))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


# Average pooling


@pytest.mark.parametrize(("window", "padding"), [(3, 1), (5, 2), ((3, 5), (1, 2)), (1, 0)])
def test_average_pooling_is_as_exact_as_the_librarys(window: int | tuple[int, int], padding: int | tuple[int, int]) -> None:
    def pool(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, stride=1, padding=padding)

    def ours(x: Tensor) -> Tensor:
        with functions.faster(CPU):
            y = pool(x)
        assert "_Window" in type(y.grad_fn).__name__
        return y

    x = noise(2, 12, 7, 9)
    assert_as_exact(gradients(ours, [x]), gradients(pool, [x]), gradients(pool, [x.to(WIDE)]))


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(2), nn.AvgPool2d(3, 1), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)]
)
def test_other_average_pooling_is_the_librarys(pool: nn.AvgPool2d) -> None:
    with functions.faster(CPU):
        y = pool(noise(2, 4, 8, 8).requires_grad_())
    assert type(y.grad_fn).__name__ == "AvgPool2DBackward0"


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
def test_the_gradient_of_a_pictures_mean_has_its_memory_format(dtype: torch.dtype) -> None:
    found = []
    for device in (CPU, torch.device("meta")):  # the second takes no kernel
        x = noise(2, 6, 5, 5, dtype=dtype).requires_grad_()
        with functions.faster(device):
            y = F.adaptive_avg_pool2d(x, 1)
        (gradient,) = torch.autograd.grad(y, x, noise(2, 6, 1, 1, seed=1, dtype=dtype))
        found.append((y.detach(), gradient))
    assert found[0][1].is_contiguous(memory_format=LAST)
    assert not found[1][1].is_contiguous(memory_format=LAST)  # the reason for the kernel
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


# Attention


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


def attend_by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention.scaled_dot_product_attention(query, key, value)


@pytest.mark.parametrize("size", [1.0, 3.0])
@pytest.mark.parametrize(("queries", "keys"), [(49, 49), (65, 65), (4, 17)])
def test_attention_is_as_exact_as_the_librarys(size: float, queries: int, keys: int) -> None:
    inputs = [noise(2, 3, queries, 32) * size, noise(2, 3, keys, 32, seed=1), noise(2, 3, keys, 32, seed=2)]
    inputs = [x.contiguous() for x in inputs]
    ours, native = gradients(attend_by_products, inputs), gradients(attend, inputs)
    exact = gradients(attend, [x.to(WIDE) for x in inputs])
    allowed = WORSE * max(relative_error(its, true) for its, true in zip(native, exact, strict=True))
    for mine, true in zip(ours, exact, strict=True):
        assert mine.dtype == HALF
        assert relative_error(mine, true) <= allowed


def test_attention_takes_a_scale_of_zero_at_its_word() -> None:
    q, v = noise(1, 2, 4, 8).contiguous().requires_grad_(), noise(1, 2, 4, 8, seed=1).contiguous()
    output = attention.scaled_dot_product_attention(q, q, v, scale=0.0)
    torch.testing.assert_close(output.float(), v.float().mean(2, keepdim=True).expand(1, 2, 4, 8), rtol=0.01, atol=0.01)


def test_gradients_of_attention_are_those_of_differences() -> None:
    inputs = [
        torch.randn(1, 2, n, 4, dtype=WIDE, generator=torch.Generator().manual_seed(n)).requires_grad_() for n in (3, 5, 5)
    ]
    assert torch.autograd.gradcheck(lambda q, k, v: attention._Attention.apply(q, k, v, 0.5), inputs)


def test_attention_that_the_library_must_compute() -> None:
    q = noise(1, 2, 4, 8).contiguous().requires_grad_()
    long = torch.zeros(1, 1, attention.LONGEST + 1, 8, dtype=HALF)
    assert attention.scaled_dot_product_attention(q, q, q) is not None
    assert attention.scaled_dot_product_attention(q, q, q, torch.zeros(4, 4)) is None
    assert attention.scaled_dot_product_attention(q, q, q, dropout_p=0.1) is None
    assert attention.scaled_dot_product_attention(q, q, q, is_causal=True) is None
    assert attention.scaled_dot_product_attention(q.float(), q.float(), q.float()) is None
    assert attention.scaled_dot_product_attention(q[:, :1], long, long) is None


def test_attention_under_autocast_has_its_precision() -> None:
    q = torch.randn(1, 2, 4, 8, requires_grad=True)
    with torch.autocast("cpu", HALF), functions.faster(CPU):
        y = attend(q, q, q)
    assert y.dtype == HALF
    assert "_Attention" in type(y.grad_fn).__name__
    y.sum().backward()
    assert q.grad.dtype == torch.float32


# All of them


@pytest.mark.parametrize(
    "function",
    [
        nn.BatchNorm2d(24),
        lambda x: F.hardtanh(x * 1, inplace=True),
        lambda x: F.avg_pool2d(x, 3, 1, 1),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.scaled_dot_product_attention(x, x, x),
    ],
)
def test_the_gradient_of_a_gradient_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    x = noise(4, 24, 48, 48).requires_grad_()
    with functions.faster(CPU):
        y = function(x)
    with pytest.raises(RuntimeError, match="no gradient of its gradient"):
        torch.autograd.grad(y.float().sum(), x, create_graph=True)


def test_without_gradients_and_off_the_cpu_everything_is_the_librarys() -> None:
    x = noise(4, 24, 4, 4)
    with functions.faster(CPU), torch.no_grad():
        assert F.adaptive_avg_pool2d(x.requires_grad_(), 1).grad_fn is None
    with functions.faster(torch.device("cuda")):
        assert type(F.avg_pool2d(x, 3, 1, 1).grad_fn).__name__ == "AvgPool2DBackward0"


class Small(nn.Module):
    """A block as MobileNets have it: BatchNorm and ReLU6, in place after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.limits = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.limits(self.norm(self.conv(x))), 3, 1, 1)
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


def test_gradients_of_a_network_are_as_exact_as_with_the_librarys_kernels() -> None:
    found = []
    for device, dtype in ((CPU, torch.float32), (torch.device("meta"), torch.float32), (torch.device("meta"), WIDE)):
        torch.manual_seed(0)
        network = Small().to(memory_format=LAST).to(dtype)
        x = noise(4, 3, 48, 48, dtype=torch.float32).to(dtype)
        with functions.faster(device), torch.autocast("cpu", HALF, enabled=dtype != WIDE):
            y = network(x)
        (y.to(dtype) * torch.arange(24)).sum().backward()
        found.append([y.detach(), *(p.grad for p in network.parameters() if p.grad is not None), network.norm.running_var])
    for ours, native, exact in zip(*found, strict=True):
        assert relative_error(ours, exact) <= WORSE * max(relative_error(native, exact), 2**-9)

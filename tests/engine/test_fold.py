"""BatchNorm folds into the convolution that alone feeds it, nowhere else, and changes nothing but rounding."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, StdConv2d
from torch import Tensor, nn
from toy_step import made

from tlkit.engine.prefix import fold, prefix
from tlkit.engine.prefix.fold import TOLERANCE, folded, relative_error
from tlkit.record.formats import PrefixPlan
from tlkit_efficientnet_lite.build import efficientnet_lite0

CHANNELS = 8


def settled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module weights and running statistics as if it had been trained."""
    draw = torch.Generator().manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan = each.weight[0].numel()
            each.weight.data.normal_(0, (2 / fan) ** 0.5, generator=draw)
            if each.bias is not None:
                each.bias.data.normal_(0, 0.5, generator=draw)
        if isinstance(each, nn.BatchNorm2d):
            if each.running_mean is not None:
                each.running_mean.normal_(0, 0.3, generator=draw)
                each.running_var.uniform_(0.4, 2.0, generator=draw)
            if each.weight is not None:
                each.weight.data.uniform_(0.5, 1.5, generator=draw)
                each.bias.data.normal_(0, 0.3, generator=draw)
    return module


def images(count: int, channels: int, side: int, seed: int) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def norms(module: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in module.modules())


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def distance(found: Tensor, right: Tensor) -> float:
    return float(((found.double() - right.double()) ** 2).sum().sqrt() / (right.double() ** 2).sum().sqrt())


def check(module: nn.Module, x: Tensor, *, left: int) -> nn.Module:
    """Fold; the answers stay, on images that folding did not see, so many norms are left, and the original is as it was."""
    module = settled(module)
    before = snapshot(module)
    made = folded(module.eval(), x[:1])
    assert norms(made) == left
    assert not any(each.training for each in made.modules())
    assert snapshot(module).keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        assert distance(made(x), module.eval()(x)) < TOLERANCE
    return made


class Wired(nn.Module):
    """Modules and the function that runs them."""

    def __init__(self, run: Callable[["Wired", Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


class Doubled(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.BatchNorm2d):
    """Has what timm's has, but not both as modules."""

    drop = None
    act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sin()


def conv(**options: object) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, **{"kernel_size": 3, "padding": 1, "bias": False, **options})


def norm(**options: object) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(CHANNELS, **options)


def hung_on() -> nn.BatchNorm2d:
    """A plain norm, whose forward pass does not use what has the names of timm's."""
    made = norm()
    made.drop, made.act = nn.Identity(), nn.ReLU()
    return made


FOLDS = {
    "alone": lambda: nn.Sequential(conv(), norm()),
    "then relu": lambda: nn.Sequential(conv(), norm(), nn.ReLU(inplace=True)),
    "bias": lambda: nn.Sequential(conv(bias=True), norm()),
    "grouped": lambda: nn.Sequential(conv(groups=2), norm()),
    "depthwise": lambda: nn.Sequential(conv(groups=CHANNELS), norm()),
    "fewer outputs than inputs": lambda: nn.Sequential(nn.Conv2d(CHANNELS, 4, 1), nn.BatchNorm2d(4)),
    "strided, dilated, reflected": lambda: nn.Sequential(conv(stride=2, dilation=2, padding=2, padding_mode="reflect"), norm()),
    "no affine": lambda: nn.Sequential(conv(), norm(affine=False)),
    "large eps": lambda: nn.Sequential(conv(), norm(eps=0.5)),
    "residual": lambda: Wired(lambda m, x: m.n(m.c(x)) + x, c=conv(), n=norm()),
    "two branches": lambda: Wired(
        lambda m, x: m.n(m.c(x)) + m.o(m.d(x)), c=conv(), n=norm(), d=conv(kernel_size=1, padding=0), o=norm()
    ),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Sequential(conv()), nn.ModuleDict({"n": norm()})["n"]), nn.ReLU()),
    "timm's norm with its activation": lambda: nn.Sequential(conv(), BatchNormAct2d(CHANNELS)),
    "timm's norm with another activation": lambda: nn.Sequential(conv(), BatchNormAct2d(CHANNELS, act_layer=nn.SiLU), conv()),
    "timm's norm without activation": lambda: nn.Sequential(conv(), BatchNormAct2d(CHANNELS, apply_act=False)),
    "a plain norm with modules that it does not run": lambda: nn.Sequential(conv(), hung_on()),
    "an operator with named arguments": lambda: Wired(
        lambda m, x: m.n(m.c(x)) * x.var(1, correction=0, keepdim=True), c=conv(), n=norm()
    ),
    "the output is that of the norm": lambda: Wired(lambda m, x: m.n(m.c(x)), c=conv(), n=norm()),
}


@pytest.mark.parametrize("make", FOLDS.values(), ids=FOLDS)
def test_norm_after_its_convolution_folds(make: Callable[[], nn.Module]) -> None:
    check(make(), images(5, CHANNELS, 9, seed=1), left=0)


def rectified_in_place(m: Wired, x: Tensor) -> Tensor:
    return m.n(torch.relu_(m.c(x)))


def changed_in_place_through_data(m: Wired, x: Tensor) -> Tensor:
    y = m.c(x)
    y.data.mul_(3)
    return m.n(y)


def returns_what_it_normalised(m: Wired, x: Tensor) -> Tensor:
    y = m.c(x)
    m.n(y)
    return y


def goes_elsewhere(m: Wired, x: Tensor) -> Tensor:
    y = m.c(x)
    return m.n(y) + y


def goes_elsewhere_before(m: Wired, x: Tensor) -> Tensor:
    y = m.c(x)
    return y.mean() + m.n(y)


def slice_goes_elsewhere(m: Wired, x: Tensor) -> Tensor:
    y = m.c(x)
    return m.n(y) + y[:, :1]


def two_norms_of_one(m: Wired, x: Tensor) -> Tensor:
    y = m.c(x)
    return m.n(y) + m.o(y)


STAYS = {
    "the convolution's output goes elsewhere too": (lambda: Wired(goes_elsewhere, c=conv(), n=norm()), 1),
    "it goes elsewhere first": (lambda: Wired(goes_elsewhere_before, c=conv(), n=norm()), 1),
    "a part of it goes elsewhere": (lambda: Wired(slice_goes_elsewhere, c=conv(), n=norm()), 1),
    "two norms of one convolution": (lambda: Wired(two_norms_of_one, c=conv(), n=norm(), o=norm()), 2),
    "shared convolution": (lambda: Wired(lambda m, x: m.o(m.c(m.n(m.c(x)))), c=conv(), n=norm(), o=norm()), 2),
    "shared norm": (lambda: Wired(lambda m, x: m.n(m.d(m.n(m.c(x)))), c=conv(), d=conv(), n=norm()), 1),
    "norm called twice": (lambda: Wired(lambda m, x: m.n(m.n(m.c(x))), c=conv(), n=norm()), 1),
    "the convolution's output is the stage's": (lambda: Wired(returns_what_it_normalised, c=conv(), n=norm()), 1),
    "no running statistics": (lambda: nn.Sequential(conv(), norm(track_running_stats=False)), 1),
    "a norm that does more": (lambda: nn.Sequential(conv(), Doubled(CHANNELS)), 1),
    "a norm that looks like timm's": (lambda: nn.Sequential(conv(), Named(CHANNELS)), 1),
    "activation between, in place": (lambda: Wired(rectified_in_place, c=conv(), n=norm()), 1),
    "changed between, in place and unseen": (lambda: Wired(changed_in_place_through_data, c=conv(), n=norm()), 1),
    "activation between": (lambda: nn.Sequential(conv(), nn.ReLU(), norm()), 1),
    "a view between": (lambda: Wired(lambda m, x: m.n(m.c(x).view(-1, CHANNELS, 9, 9)), c=conv(), n=norm()), 1),
    "pooled between": (lambda: nn.Sequential(conv(), nn.AvgPool2d(3), norm()), 1),
    "norm before the convolution": (lambda: nn.Sequential(norm(), nn.ReLU(), conv()), 1),
    "norm alone": (lambda: norm(), 1),
    "transposed convolution": (lambda: nn.Sequential(nn.ConvTranspose2d(CHANNELS, CHANNELS, 3), norm()), 1),
    "two convolutions joined": (
        lambda: Wired(
            lambda m, x: m.n(torch.cat([m.c(x), m.d(x)], 1)),
            c=nn.Conv2d(CHANNELS, 4, 1), d=nn.Conv2d(CHANNELS, 4, 1), n=norm(),
        ),
        1,
    ),
    "filters that are standardised in every pass": (lambda: nn.Sequential(StdConv2d(CHANNELS, CHANNELS, 3), norm()), 1),
}  # fmt: skip


@pytest.mark.parametrize(("make", "left"), STAYS.values(), ids=STAYS)
def test_norm_that_cannot_fold_stays(make: Callable[[], nn.Module], left: int) -> None:
    x = images(5, CHANNELS, 9, seed=1)
    module = settled(make()).eval()
    made = check(module, x, left=left)
    with torch.no_grad():
        assert torch.equal(made(x), module(x)), "and nothing else was folded"


def test_stage_without_batch_norm_is_not_copied() -> None:
    stage = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()).eval()
    assert folded(stage, torch.ones(1, 1, 2, 2), note=pytest.fail) is stage


def test_only_the_pairs_that_may_are_folded() -> None:
    both = nn.Sequential(conv(), norm(), nn.ReLU(), norm(), conv(), norm(), Wired(goes_elsewhere, c=conv(), n=norm()))
    made = check(both, images(4, CHANNELS, 9, seed=2), left=2)
    assert [type(each) for each in made[:6]] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.BatchNorm2d, nn.Conv2d, nn.Identity]


def test_a_norm_or_convolution_with_two_names_stays_and_others_fold() -> None:
    """Under its second name, by which the stage calls it, it would still be there."""
    one, two = norm(), conv()
    named = Wired(lambda m, x: m.o(m.again(m.same(m.d(x)))), d=conv(), n=one, same=one, c=two, again=two, o=norm())
    made = check(nn.Sequential(named, conv(), norm()), images(4, CHANNELS, 9, seed=2), left=2)
    assert isinstance(made[2], nn.Identity)


def test_the_activation_of_timms_norm_is_kept() -> None:
    made = check(nn.Sequential(conv(), BatchNormAct2d(CHANNELS, act_layer=nn.SiLU)), images(4, CHANNELS, 9, seed=2), left=0)
    assert any(isinstance(each, nn.SiLU) for each in made.modules())


def test_filters_and_bias_are_those_worked_by_hand() -> None:
    """y = 2 x + 1; (y - 3) / sqrt(3 + 1) * 4 + 5 = 4 x + 1."""
    stage = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1.0))
    stage[0].weight.data.fill_(2.0)
    stage[0].bias.data.fill_(1.0)
    stage[1].weight.data.fill_(4.0)
    stage[1].bias.data.fill_(5.0)
    stage[1].running_mean.fill_(3.0)
    stage[1].running_var.fill_(3.0)
    made = folded(stage.eval(), torch.ones(1, 1, 2, 2))
    assert (made[0].weight.item(), made[0].bias.item()) == (4.0, 1.0)
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert made(torch.full((1, 1, 1, 1), 7.0)).item() == 29.0


def test_each_filter_has_the_scale_of_its_own_channel() -> None:
    """Two groups of one channel each: scales 1 / sqrt(0.25) * 3 = 6 and 1 / sqrt(4) * 1 = 0.5."""
    stage = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2, bias=False), nn.BatchNorm2d(2, eps=1e-30))
    stage[0].weight.data.copy_(torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1))
    stage[1].weight.data.copy_(torch.tensor([3.0, 1.0]))
    stage[1].running_mean.copy_(torch.tensor([1.0, 2.0]))
    stage[1].running_var.copy_(torch.tensor([0.25, 4.0]))
    made = folded(stage.eval(), torch.ones(1, 2, 3, 3))
    assert made[0].weight.flatten().tolist() == [6.0, 5.0]
    assert made[0].bias.tolist() == [-6.0, -1.0]


def test_tiny_variances_do_not_lose_digits() -> None:
    stage = settled(nn.Sequential(conv(), norm(eps=1e-12)))
    stage[1].running_var.copy_(torch.logspace(-10, 4, CHANNELS))
    x = images(3, CHANNELS, 9, seed=3)
    made = folded(stage.eval(), x[:1])
    assert norms(made) == 0
    with torch.no_grad():
        assert distance(made(x), stage.eval()(x)) < 1e-5


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (torchvision.models.resnet18, 0),  # of 20
        (torchvision.models.resnet50, 0),  # of 53
        (torchvision.models.mobilenet_v2, 0),  # of 52
        (lambda: nn.Sequential(*efficientnet_lite0().values()), 0),  # of 49
        # Of 121 the stem's and the 58 that stand between the two convolutions of a layer fold; what takes joined maps does
        # not: 58 at the beginning of a layer, 3 of transitions, 1 at the end.
        (lambda: torchvision.models.densenet121().features, 62),
        (lambda: timm.create_model("mobilenetv3_small_050", pretrained=False), 0),
    ],
    ids=["resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0", "densenet121", "mobilenetv3"],
)
def test_a_networks_answers_stay(make: Callable[[], nn.Module], left: int) -> None:
    check(make(), images(2, 3, 64, seed=4), left=left)


class Third(nn.Module):
    """A third party's stage, which uses its modules in a way of its own."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.c, self.n = conv(), norm()
        if way == "weights made anew in every pass":
            nn.utils.parametrizations.weight_norm(self.c)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "arguments by name":
            return self.n(input=self.c(input=x))
        return self.n(self.c(x)) / (self.n.num_features if self.way == "reads its norm" else 1)


@pytest.mark.parametrize("way", ["arguments by name", "reads its norm", "weights made anew in every pass"])
def test_a_stage_with_ways_of_its_own_is_no_error(way: str) -> None:
    stage, x = Third(way), images(3, CHANNELS, 9, seed=5)
    stage.n.running_var.uniform_(0.4, 2.0)
    with torch.no_grad():
        assert distance(folded(stage.eval(), x[:1])(x), stage.eval()(x)) < TOLERANCE


def test_a_stage_in_half_precision_is_a_stage_too() -> None:
    stage = settled(nn.Sequential(conv(), norm(), nn.ReLU())).bfloat16()
    made = folded(stage.eval(), images(1, CHANNELS, 9, seed=1).bfloat16())
    assert all(p.dtype == torch.bfloat16 for p in made.parameters())


@pytest.mark.parametrize(
    ("found", "right", "expected"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([0.03, 0.045], [0.03, 0.04], 0.1),
        ([1e38, 1.0], [-1e38, 1.0], 2.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
    ],
)
def test_relative_error_is_that_worked_by_hand(found: list[float], right: list[float], expected: float) -> None:
    assert relative_error(torch.tensor(found), torch.tensor(right)) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_relative_error_of_what_is_no_number_is_infinite(bad: float) -> None:
    assert relative_error(torch.tensor([bad, 1.0]), torch.tensor([1.0, 1.0])) == float("inf")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_norms_that_fold_are_counted_among_all(device: str) -> None:
    both = nn.Sequential(conv(), norm(), nn.ReLU(), norm(), Wired(goes_elsewhere, c=conv(), n=norm()), conv(), norm())
    x = images(1, CHANNELS, 9, seed=1)
    assert fold.foldable(both.eval().to(device), x.to(device)) == (2, 4)
    assert fold.foldable(conv().to(device), x.to(device)) == (0, 0)
    assert fold.foldable(Third("arguments by name").to(device).eval(), x.to(device)) == (0, 1)
    others = nn.Sequential(conv(), norm(), conv(), Doubled(CHANNELS), conv(), Named(CHANNELS), conv(), conv())
    assert fold.foldable(others.eval().to(device), x.to(device)) == (1, 3)
    by_the_batch = nn.Sequential(conv(), norm(), conv(), norm(track_running_stats=False))
    assert fold.foldable(by_the_batch.eval().to(device), x.to(device)) == (1, 2)


def test_a_copy_that_is_as_far_off_as_allowed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, x, notes = settled(nn.Sequential(conv(), norm(), norm())).eval(), images(1, CHANNELS, 9, seed=1), []
    with torch.no_grad():
        wrong = relative_error(folded(stage, x)(x), stage(x))
    assert 0 < wrong < 1e-6
    monkeypatch.setattr(fold, "TOLERANCE", wrong)
    assert norms(folded(stage, x, note=notes.append)) == 1
    assert notes == []
    monkeypatch.setattr(fold, "TOLERANCE", wrong / 2)
    assert folded(stage, x, note=notes.append) is stage
    assert notes == [f"2 BatchNorm layers are not folded: the output would be {wrong:.0e} off, allowed is {wrong / 2:.0e}"]


LAYERS = st.lists(
    st.fixed_dictionaries(
        {
            "width": st.sampled_from([2, 4, 6]),
            "kernel": st.sampled_from([1, 3]),
            "stride": st.sampled_from([1, 2]),
            "grouped": st.booleans(),
            "bias": st.booleans(),
            "affine": st.booleans(),
            "eps": st.sampled_from([1e-5, 1e-3, 0.1]),
            "after": st.sampled_from([None, nn.ReLU, nn.ReLU6, nn.Hardswish]),
        }
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(LAYERS, st.integers(0, 2**31))
def test_any_chain_folds_whole(layers: list[dict], seed: int) -> None:
    modules: list[nn.Module] = []
    width = 2
    for each in layers:
        options = {"stride": each["stride"], "padding": each["kernel"] // 2, "bias": each["bias"]}
        groups = 2 if each["grouped"] else 1
        modules.append(nn.Conv2d(width, each["width"], each["kernel"], groups=groups, **options))
        modules.append(nn.BatchNorm2d(each["width"], affine=each["affine"], eps=each["eps"]))
        modules += [each["after"]()] if each["after"] else []
        width = each["width"]
    chain = settled(nn.Sequential(*modules), seed)
    x = images(3, 2, 8, seed=seed)
    with torch.no_grad():
        right = chain.eval()(x)
    made = folded(chain.eval(), x[:1])
    assert norms(made) == 0
    with torch.no_grad():
        found = made(x)
    assert float((found - right).double().norm()) <= TOLERANCE * float(right.double().norm()) + 1e-6


def test_pairs_are_found_in_few_walks_over_a_network_of_many_layers() -> None:
    class Counted(nn.Sequential):
        walks = 0

        def named_modules(self, *args: object, **kwargs: object) -> Iterator[tuple[str, nn.Module]]:
            type(self).walks += 1
            return super().named_modules(*args, **kwargs)

    # what activations give is soon gone, and memory that is used again is not taken for the same tensor
    layers = [layer for _ in range(50) for layer in (conv(), norm(), nn.Tanh(), nn.Tanh(), nn.Tanh())]
    assert norms(folded(settled(Counted(*layers)).eval(), images(1, CHANNELS, 9, seed=1))) == 0
    assert Counted.walks < 10  # it was one for each layer


def test_a_stage_that_is_not_folded_is_named_with_how_far_it_would_be_off(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = made(toy_recipe)
    notes: list[str] = []
    sample = torch.randn(1, 3, 16, 16)
    prefix.build(network, 2, PrefixPlan(), sample=sample, note=notes.append)
    assert notes == []
    monkeypatch.setattr(fold, "TOLERANCE", 0.0)
    prefix.build(network, 2, PrefixPlan(), sample=sample, note=notes.append)
    assert [line.partition(" are not folded")[0] for line in notes] == [
        "fixed prefix, stem: 1 BatchNorm layers",
        "fixed prefix, block1: 1 BatchNorm layers",
    ]

"""The trained heads' answers against an independent computation."""

from pathlib import Path

import pytest
import torch
from torch import nn
from toy_training import training

import tlkit_heads
from tlkit import plugin
from tlkit.plugin import FeatureMap, Head, registry


def built(kind: str, features: int = 6, classes: int = 4, **options: object) -> nn.Module:

    head = registry.get(Head, kind)
    made = plugin.call(head.build, features, classes, head.options.model_validate(options))
    assert isinstance(made, nn.Module)
    return made


def test_cosine_is_the_scaled_cosine_of_the_angle() -> None:
    head = built("cosine", scale=10.0).eval()
    x = torch.randn(5, 6)
    expected = 10 * torch.nn.functional.cosine_similarity(x[:, None], head.weight[None], dim=2)
    assert torch.allclose(head(x), expected, atol=1e-5)
    assert torch.allclose(head(x * 7), expected, atol=1e-5), "the length of the features does not count"


def test_mlp_has_batchnorm_where_it_is_asked_for() -> None:
    kinds = [type(module) for module in built("mlp", widths=[8, 5], norm=True)]
    layer = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert kinds == [*layer, *layer, nn.Linear]
    assert nn.BatchNorm1d not in [type(module) for module in built("mlp", widths=[8, 5])]


def test_conv_is_squeezenets_classifier() -> None:
    from torchvision.models import squeezenet1_0

    theirs = squeezenet1_0(weights=None, num_classes=4).classifier.eval()
    head = built("conv", features=512).eval()
    head.load_state_dict(theirs[1].state_dict())
    x = torch.randn(2, 512, 5, 7)
    assert torch.equal(head(x), theirs(x).flatten(1))


@pytest.mark.parametrize("kind", ["linear", "mlp", "cosine", "conv"])
@pytest.mark.parametrize("freeze", ["{}", "{backbone=true}", "{stem=true, block1=true}"])
def test_a_head_trains_alike_on_stored_and_on_computed_features(toy_recipe: Path, kind: str, freeze: str) -> None:
    from dataclasses import replace

    from tlkit.plans.plan import Plan

    def without_stores(plan: Plan) -> Plan:
        fixed = [phase.fixed and replace(phase.fixed, train=None, evaluation=None) for phase in plan.phases]
        return replace(plan, phases=tuple(replace(phase, fixed=each) for phase, each in zip(plan.phases, fixed, strict=True)))

    settings = [f"head.kind={kind}", f"freeze={freeze}"]
    one, other = training(toy_recipe, *settings), training(toy_recipe, *settings, change=without_stores)
    assert one.plan.pools == (kind != "conv")
    for mine in (one, other):
        assert [epoch.train["loss"] > 0 for epoch in mine.fit.epochs()] == [True, True]
    left, right = one.network.tensors(), other.network.tensors()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_head_on_the_map_is_stored_as_maps(toy_recipe: Path) -> None:
    from tlkit.store import cache

    mine = training(toy_recipe, "head.kind=conv", "freeze={backbone=true}")
    list(mine.fit.epochs())
    shapes = {str(entry.origin["stages"]) for entry in cache.listing() if entry.kind == "features"}
    assert shapes
    assert not any("pooled" in shape for shape in shapes)


HEADS = ("linear", "mlp", "cosine", "conv", "binary", "multilabel")
SOLVED = ("svm", "logistic", "knn", "decision_tree", "random_forest", "gradient_boosting", "lda")


@pytest.mark.parametrize("kind", [*HEADS, *SOLVED])
def test_every_head_keeps_the_contract(kind: str) -> None:
    from tlkit import testing

    said = list(testing.check(kind))
    assert len(said) == 3
    assert ("read again" in said[-1]) == (kind in SOLVED)


def test_a_head_that_breaks_the_contract_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    from sklearn.linear_model import Ridge

    from tlkit import testing
    from tlkit.errors import PluginError

    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    class Guess:
        classes_ = (0, 1, 2)

        def fit(self, x: object, y: object) -> None: ...

        def decision_function(self, x: torch.Tensor) -> object:
            import numpy as np

            return np.tile([1.0, 0.0, 0.0], (len(x), 1))

    module = types.ModuleType("lab_heads")
    module.wide = lambda features, classes, options: nn.Linear(features, classes + 1)
    module.other = lambda features, classes, options: nn.Linear(features + 1, classes)
    module.idle = lambda features, classes, options: Idle()
    module.guess = lambda options, facts: Guess()
    module.nothing = lambda options, facts: None
    module.ridge = lambda options, facts: Ridge()
    monkeypatch.setitem(sys.modules, "lab_heads", module)
    for head, words in (
        (Head(build="lab_heads:wide"), "gives (12, 4) for (12, 8)"),
        (Head(build="lab_heads:other"), "lab_heads:other: forward fails for features (12, 8): RuntimeError: mat1 and mat2"),
        (Head(build="lab_heads:idle"), "does not depend on idle.weight"),
        (Head(solve="lab_heads:guess"), "is right for 33%"),
        (Head(solve="lab_heads:nothing"), "lab_heads:nothing: gave NoneType, which has no fit."),
        (Head(solve="lab_heads:ridge"), "lab_heads:ridge: gave Ridge, which has no predict_proba or decision_function."),
    ):
        with pytest.raises(PluginError) as error:
            list(testing.check_head(head))
        assert words in str(error.value)
    with pytest.raises(PluginError, match="either trained or solved"):
        Head(summary="neither")


def test_fcn_is_a_layer_at_every_place_of_the_last_map_enlarged_to_the_picture() -> None:
    head = plugin.call(tlkit_heads.fcn.build, (FeatureMap(6, 8),), 4, tlkit_heads.FcnOptions()).eval()
    x = torch.randn(2, 6, 5, 7)
    weight, bias = head.state_dict().values()
    places = torch.einsum("nfhw,cf->nchw", x, weight.flatten(1)) + bias[:, None, None]
    expected = nn.functional.interpolate(places, size=(40, 50), mode="bilinear")
    torch.testing.assert_close(head([x], (40, 50)), expected, rtol=1e-4, atol=1e-5)

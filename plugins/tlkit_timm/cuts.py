"""Where a model of timm's is cut: inside for five families, before the head for all others.

The rule: a stage runs timm's modules and methods themselves, below timm's names; only their order is written here, and the order of
axes between stages, which tlkit wants to be (N, C, h, w): a token is a row of a picture of one column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import cast

from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tlkit import network

HEAD = "head"  # timm's own name of the module that holds the classifier
Steps = tuple[str, ...]  # names of a model's modules, and of those below, in running order


@dataclass(frozen=True)
class Cut:
    """A model without its classifier.

    Attributes:
        stages: From (N, 3, H, W) to (N, features, h, w), or to (N, features).
        left_out: Modules of timm's that files hold and no stage does, beside a linear classifier.
        inside: It has a stage for every part of the model.
        dropout: Of the features, that timm's forward_head has as code and no stage does.
    """

    stages: dict[str, nn.Module]
    left_out: Steps
    inside: bool
    dropout: float = 0.0


class Permute(nn.Module):
    """Another order of axes; it copies nothing."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def extra_repr(self) -> str:
        """Return the order."""
        return ", ".join(map(str, self.order))

    def forward(self, x: Tensor) -> Tensor:
        """Permute the axes of a tensor."""
        return x.permute(self.order)


class ToTokens(nn.Module):
    """(N, C, tokens, 1) to (N, tokens, C); it copies nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens of a map."""
        return x.squeeze(3).transpose(1, 2)


class ToMap(nn.Module):
    """(N, tokens, C) to (N, C, tokens, 1), whose mean over the picture is that over all tokens; it copies nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens as a map."""
        return x.transpose(1, 2).unsqueeze(3)


class _Part(VisionTransformer):  # type: ignore[misc]  # mypy does not read timm
    """A part of a vision transformer, which runs code of that class.

    Args:
        model: All that its code looks up is shared.
        names: Of its modules and parameters, those that the part holds.
    """

    def __init__(self, model: VisionTransformer, names: Collection[str]) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({name: value for name, value in model.__dict__.items() if name not in self.__dict__})
        for name, child in model.named_children():
            if name in names:
                self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            if name in names:
                self.register_parameter(name, parameter)


class Embedding(_Part):
    """Up to the blocks: patches, class and register tokens, positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, tokens, 1) of images (N, 3, H, W)."""
        x = self._pos_embed(self.patch_embed(x))  # (N, tokens, C)
        x = self.norm_pre(self.patch_drop(x))
        return x.transpose(1, 2).unsqueeze(3)


class Features(_Part):
    """Behind the blocks: the norm, and whatever makes one row of an image's tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, features) of (N, C, tokens, 1)."""
        x = self.norm(x.squeeze(3).transpose(1, 2))  # (N, tokens, C)
        features: Tensor = self.head_drop(self.fc_norm(self.pool(x)))
        return features


class _Headless(nn.Module):
    """Mixed into a model of timm's that has several classifiers, each of which answers: what it gives before them."""

    forward_features: Callable[[Tensor], Tensor]
    forward_head: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, features) of images (N, 3, H, W)."""
        return self.forward_head(self.forward_features(x), pre_logits=True)


def cut(model: nn.Module) -> Cut:
    """Cut a model into stages, which take its modules over.

    Args:
        model: As timm builds it; not to be used afterwards.
    """
    for module in model.modules():
        if hasattr(module, "attention_bias_cache"):
            module.register_forward_hook(_forget)
    if type(model) is VisionTransformer:
        return _vision_transformer(model)
    order = _ORDERS.get(type(model))
    if order is None:
        return _before_head(model)
    added = {"rows": Permute(0, 2, 3, 1), "map": Permute(0, 3, 1, 2)}
    dropout = float(model.drop_rate) if isinstance(model, ResNet | EfficientNet) else 0.0
    return Cut(network.cut(model, _joined(model, order(model)), **added), (), True, dropout)


def owned(module: nn.Module, at: str = "") -> Iterator[str]:
    """Yield the names that a stage owns: its modules that hold tensors, and its parameters that lie in none.

    Of a module that only holds others, and of timm's head, of which the classifier is not the stage's, those below.
    """
    yield from (at + name for name, _ in module.named_parameters(recurse=False))
    for name, child in module.named_children():
        if type(child) is nn.Module or at + name == HEAD:
            yield from owned(child, f"{at}{name}.")
        elif _has_tensors(child):
            yield at + name


def classifiers(model: nn.Module) -> Steps:
    """Return timm's names of what gives a model's answers; several where it was distilled."""
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    answering: object = getattr(model, "get_classifier", tuple)()
    if len(names) == 1 and isinstance(answering, tuple) and len(answering) > 1:  # LeViT-384 at stride 8: the other is not named
        names = tuple(name for name, module in model.named_modules() if any(module is each for each in answering))
    modules = dict(model.named_modules())
    return tuple(name for name in names if name in modules)


def _resnet(model: nn.Module) -> dict[str, Steps]:
    layers = {name: (name,) for name, _ in model.named_children() if name.startswith("layer")}
    return {"stem": ("conv1", "bn1", "act1", "maxpool")} | layers | {"pool": _pool(model)}


def _efficientnet(model: nn.Module) -> dict[str, Steps]:
    blocks = {f"block{name}": (f"blocks.{name}",) for name in _below(model, "blocks")}
    return {"stem": ("conv_stem", "bn1")} | blocks | {"top": ("conv_head", "bn2"), "pool": _pool(model)}


def _convnext(model: nn.Module) -> dict[str, Steps]:
    stages = {f"stage{name}": (f"stages.{name}",) for name in _below(model, "stages")}
    head = [
        f"{HEAD}.{name}" for name in ("global_pool", "norm", "flatten", "pre_logits", "drop") if name in _below(model, HEAD)
    ]
    return {"stem": ("stem",)} | stages | {"norm": ("norm_pre", *head)}


def _swin(model: nn.Module) -> dict[str, Steps]:
    layers = {f"layer{name}": ("rows", f"layers.{name}", "map") for name in _below(model, "layers")}
    return {"stem": ("patch_embed", "map")} | layers | {"norm": ("rows", "norm", "head.global_pool", "head.drop")}


_ORDERS = {ConvNeXt: _convnext, EfficientNet: _efficientnet, ResNet: _resnet, SwinTransformer: _swin}


def _vision_transformer(model: VisionTransformer) -> Cut:
    behind = ("norm", "attn_pool", "fc_norm", "head_drop")
    before = {name for name, _ in chain(model.named_children(), model.named_parameters(recurse=False))}
    embedding, features = Embedding(model, before - {*behind, "blocks", HEAD}), Features(model, behind)
    steps = {f"block{name}": ("tokens", f"blocks.{name}", "map") for name in _below(model, "blocks")}
    blocks = network.cut(model, steps, tokens=ToTokens(), map=ToMap())
    patches = network.Patches(tuple(model.patch_embed.patch_size), model.num_prefix_tokens)
    with_tokens: list[nn.Module] = [embedding, *blocks.values()]
    for stage in with_tokens:
        network.mark_patches_(stage, patches)
    return Cut({"stem": embedding} | blocks | {"norm" if _has_tensors(features) else "pool": features}, (), True)


def _before_head(model: nn.Module) -> Cut:
    """The model itself as one stage, its classifier taken out; where there are several, with all that only they need."""
    names = classifiers(model)
    if len(names) > 1:
        tops = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
        for top in tops:
            delattr(model, top)
        model.__class__ = _headless(type(model))
        return Cut({"body": model}, tops, False)
    left_out = []
    for name in names:
        parent, _, last = name.rpartition(".")
        classifier = model.get_submodule(name)
        if not isinstance(classifier, nn.Identity) and (not isinstance(classifier, nn.Linear) or classifier.bias is None):
            left_out.append(name)  # a convolution: no linear layer can take its place in a file
        setattr(model.get_submodule(parent), last, nn.Identity())
    return Cut({"body": model}, tuple(left_out), False)


def _headless(model: type[nn.Module]) -> type[nn.Module]:
    return type(model.__name__, (_Headless, model), {"__module__": __name__})


def _joined(model: nn.Module, order: Mapping[str, Steps]) -> dict[str, Steps]:
    """Join a stage that owns nothing to the one before it."""
    joined: dict[str, Steps] = {}
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, steps in order.items():
        if any(step in modules and _has_tensors(modules[step]) for step in steps):
            joined[name] = steps
        else:
            joined[next(reversed(joined))] += steps
    return joined


def _pool(model: nn.Module) -> Steps:
    """The model's own pooling where it is another than tlkit's, which is the mean over the picture."""
    return () if model.get_submodule("global_pool").pool_type == "avg" else ("global_pool",)


def _below(model: nn.Module, name: str) -> Steps:
    return tuple(below for below, _ in model.get_submodule(name).named_children())


def _has_tensors(module: nn.Module) -> bool:
    return next(chain(module.parameters(), module.buffers()), None) is not None


def _forget(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Drop what LeViT and its like keep of their biases in eval mode, which is wrong once they have learned more."""
    cast(dict[str, Tensor], module.attention_bias_cache).clear()

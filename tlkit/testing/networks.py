"""Whether a backbone or a head keeps the contract: shapes, gradients, names, the meta device, the file of a solved head."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from tlkit import tasks
from tlkit.engine import estimators
from tlkit.errors import PluginError, RunFolderError, reason
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.network.stages import copied
from tlkit.plugin import Backbone, FeatureMap, Head, Solving, registry
from tlkit.recipe import parsing
from tlkit.record import run_folder
from tlkit.tasks import Task

_CLASSES = 3  # of the head that a backbone is tried with, and of a head itself,
_FEATURES, _IMAGES = 8, 12  # with so many features and images (of each class, where it is solved)
_STRIDES, _SIDE = (2, 4), 16  # of the maps of a head of maps, and side of the images, pixels
_LEAST_RIGHT = 0.6


def check_backbone(backbone: Backbone) -> Iterator[str]:
    """Hold a backbone to the contract: names, shapes, a cut after every stage, the meta device.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    network = _build(backbone)
    yield f"builds its stages: {', '.join(backbone.stages)}"
    _check_declared(network, backbone)
    yield f"every one of {_unique_names(network, backbone)} tensors has one name, in one stage"
    size = max(backbone.minimum_size, min(backbone.image_size, 64))
    x = torch.rand(2, 3, size, size)
    network.eval()
    with torch.inference_mode():
        features = _embed(network, backbone, x)
        if features.shape != (2, backbone.features):
            raise PluginError(
                f"{backbone.build}: its pooled output is {tuple(features.shape)}, declared are {backbone.features} features.",
                f"features={features.shape[-1]}",
            )
        yield f"gives {backbone.features} features of {size} px"
        _embed(network, backbone, torch.rand(2, 3, backbone.minimum_size, backbone.minimum_size))
        yield f"takes images of {backbone.minimum_size} px"
        whole = network(x)
        if not torch.equal(network(x), whole):
            raise PluginError(
                f"{backbone.build}: called twice with the same images in eval mode, it gives two outputs.",
                "nothing may be drawn at random in forward unless self.training is True, and nothing counted",
            )
        for cut in range(1, len(backbone.stages)):
            if not torch.equal(network.finish(network.run(network.run(x, stop=cut), start=cut)), whole):
                raise PluginError(f"{backbone.build}: cut after {list(backbone.stages)[cut - 1]}, the output is another.")
    yield "gives the same output cut after any stage"
    with torch.device("meta"):
        network = _build(backbone).eval()
        _run_on_shapes(backbone.build, lambda: network(torch.empty(2, 3, size, size)))
    yield "runs on shapes alone, for plans"


def check_head(head: Head) -> Iterator[str]:
    """Hold a head to the contract: of a trained one shapes, gradients and the meta device, of a solved one its fit and its file.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    options = parsing.options(head.options, {}, place="head.options")
    yield from _check_solved(head, options) if head.solve else _check_trained(head, options)


def _check_trained(head: Head, options: BaseModel | None) -> Iterator[str]:
    task = tasks.get(head.task)
    classes = task.outputs(_CLASSES)
    levels = tuple(FeatureMap(_FEATURES, stride) for stride in _STRIDES if head.reads == "strides" or stride == _STRIDES[-1])
    features = levels if head.several else _FEATURES
    shape = (_IMAGES, _FEATURES, 4, 4) if head.maps or head.several else (_IMAGES, _FEATURES)
    right = (_IMAGES, classes, _SIDE, _SIDE) if head.pixels else (_IMAGES, classes)

    def called(module: nn.Module) -> Tensor:
        """Call the head with random features or maps, on the default device."""
        if not head.several:
            return module(torch.randn(shape))  # type: ignore[no-any-return]  # torch leaves it untyped
        sides = [_SIDE // level.stride for level in levels]
        maps = tuple(torch.randn(_IMAGES, _FEATURES, side, side) for side in sides)
        return module(maps, (_SIDE, _SIDE))  # type: ignore[no-any-return]  # likewise

    made = building.build_module(head.build, features, classes, options)
    try:
        logits = called(made)
    except Exception as error:  # whatever a third party's forward raises
        wanted = "maps of several stages" if head.several else f"features {shape}"
        raise PluginError(f"{head.build}: forward fails for {wanted}: {reason(error)}.", f"logits {right}") from error
    if not isinstance(logits, Tensor) or logits.shape[: len(right)] != right or not _has_loss(task, logits):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise PluginError(f"{head.build}: gives {given} for {shape}.", f"logits {right}")
    yield f"gives logits of {classes} classes for {'features' if len(shape) == 2 else 'maps'}"
    logits.square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    unused = [name for name, parameter in made.named_parameters() if parameter.grad is None]
    if unused:
        raise PluginError(
            f"{head.build}: its answer does not depend on {unused[0]}.", "a parameter that is not used cannot learn"
        )
    yield f"learns: {sum(1 for _ in made.parameters())} tensors have gradients"
    with torch.device("meta"):
        module = building.build_module(head.build, features, classes, options).eval()
        _run_on_shapes(head.build, lambda: called(module))
    yield "runs on shapes alone, for plans"


def _has_loss(task: Task, logits: Tensor) -> bool:
    """Whether logits have the dimensions that the loss of their task takes."""
    whole = task.expand(logits.detach(), 1)
    try:
        return bool(task.losses(whole, task.targets.example(whole.shape)).shape == whole.shape[:1])
    except (RuntimeError, ValueError, IndexError):  # torch's words for other dimensions
        return False


def _check_solved(head: Head, options: BaseModel | None) -> Iterator[str]:
    features = torch.randn(_IMAGES * _CLASSES, _FEATURES, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(features)) % _CLASSES
    features[:, 0] += 4 * labels
    solving = Solving(labels.numpy(), _FEATURES, _CLASSES, seed=0)
    fitted, said = estimators.fit(head, options, features.numpy(), labels.numpy(), solving)
    yield f"is fitted to {_CLASSES} classes of {_IMAGES} embeddings" + "".join(f"; {line}" for line in said)
    logits = fitted(features)
    if logits.shape != (len(features), _CLASSES) or not bool(torch.isfinite(logits).all()):
        raise PluginError(f"{head.solve}: its answers {tuple(logits.shape)} are not finite numbers for {_CLASSES} classes.")
    accuracy = float((logits.argmax(1) == labels).float().mean())
    if accuracy < _LEAST_RIGHT:
        raise PluginError(f"{head.solve}: is right for {accuracy:.0%} of the easy embeddings that it was fitted to.")
    yield f"is right for {accuracy:.0%} of them"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / run_folder.SOLVED
        path.write_bytes(estimators.to_bytes(fitted))
        try:
            again = estimators.load(path, head, _CLASSES)
        except RunFolderError as error:
            raise PluginError(f"{head.solve}: cannot be read again: {error.problem}", *error.hints) from error
    if not torch.equal(again(features), logits):
        raise PluginError(f"{head.solve}: read again, it gives other answers.")
    yield "is kept without pickle, and read again gives the same answers"


def _build(backbone: Backbone) -> Network:
    options = parsing.options(backbone.options, {}, place="backbone.options")
    head = registry.get(Head, "linear")
    return building.build(
        backbone, head, classes=_CLASSES, backbone_options=options,
        head_options=parsing.options(head.options, {}, place="head.options"), seed=0,
    )  # fmt: skip


def _run_on_shapes(target: str, forward: Callable[[], Tensor]) -> None:
    """Run a module's forward on the meta device, as a plan does."""
    try:
        forward()
    except Exception as error:  # whatever a third party's forward raises
        raise PluginError(
            f"{target}: forward fails on the meta device: {reason(error)}.",
            "plans run the network on shapes alone, on torch's meta device: forward may not look at values, as .item() or .tolist() do",
            "a number that forward needs belongs into __init__, computed there; a tensor into a buffer: self.register_buffer(...)",
        ) from error


def _check_declared(network: Network, backbone: Backbone) -> None:
    for stage, modules in backbone.stages.items():
        copied(stage, network.stages[stage])
        module_names = (name for name, _ in network.stages[stage].named_modules())
        names = {*module_names, *(name for name, _ in network.stages[stage].named_parameters())}
        for module in modules:
            if module not in names:
                raise PluginError(f"{backbone.build}: stage {stage} declares {module}, which it does not hold.")


def _embed(network: Network, backbone: Backbone, x: Tensor) -> Tensor:
    try:
        return network.embed(x)
    except Exception as error:  # whatever a third party's forward raises
        raise PluginError(
            f"{backbone.build}: does not take images of {x.shape[-1]} px: {reason(error)}.",
            f"declared is minimum_size={backbone.minimum_size}",
        ) from error


def _unique_names(network: Network, backbone: Backbone) -> int:
    seen: dict[int, str] = {}
    for owned, parameter in network.owned():
        if id(parameter) in seen:
            raise PluginError(f"{backbone.build}: {owned.name} and {seen[id(parameter)]} are one parameter in two stages.")
        seen[id(parameter)] = owned.name
    return sum(len(stage.state_dict()) for stage in network.stages.values())

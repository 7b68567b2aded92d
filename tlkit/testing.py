"""The contract of plugins, for us and for third parties: `tlkit check NAME`, or these functions in a test of your own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from tlkit import file_digests, plugin, tasks, units
from tlkit.engine import estimators
from tlkit.errors import PluginError, RunFolderError, TlkitError, nearest, reason
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.network.stages import copied
from tlkit.plugin import (
    Adapter,
    Alignment,
    Backbone,
    Dataset,
    Demand,
    DomainBatch,
    Executor,
    Head,
    LoggedEnd,
    LoggedRun,
    Logger,
    Solving,
    registry,
)
from tlkit.recipe import parsing
from tlkit.record import run_folder
from tlkit.run import remote_jobs
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places
from tlkit.tasks import Task

_CLASSES = 3  # of the head that a backbone is tried with, and of a head itself,
_FEATURES, _IMAGES = 8, 12  # with so many features and images (of each class, where it is solved)
_LEAST_RIGHT = 0.6


def check(name: str, *, data: Path | None = None) -> Iterator[str]:
    """Hold an installed backbone, head, data set, logger, adapter or executor to the contract.

    Args:
        name: As `tlkit list` shows it.
        data: Folder of a data set's files.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    if registry.offers(Backbone, name):
        yield from check_backbone(registry.get(Backbone, name))
    elif registry.offers(Dataset, name):
        yield from check_dataset(name, registry.get(Dataset, name), data=data)
    elif registry.offers(Head, name):
        yield from check_head(registry.get(Head, name))
    elif registry.offers(Logger, name):
        yield from check_logger(name, registry.get(Logger, name))
    elif registry.offers(Adapter, name):
        yield from check_adapter(registry.get(Adapter, name))
    elif registry.offers(Executor, name):
        yield from check_executor(name, registry.get(Executor, name))
    else:
        kinds = (Adapter, Backbone, Dataset, Executor, Head, Logger)
        names = [entry.name for kind in kinds for entry in registry.entries(kind)]
        raise TlkitError(
            f'there is no backbone, head, data set, logger, adapter or executor "{name}" installed.',
            "tlkit list shows what is",
            nearest(name, names),
        )


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
        for cut in range(1, len(backbone.stages)):
            if not torch.equal(network.finish(network.run(network.run(x, stop=cut), start=cut)), whole):
                raise PluginError(f"{backbone.build}: cut after {list(backbone.stages)[cut - 1]}, the output is another.")
    yield "gives the same output cut after any stage"
    with torch.device("meta"):
        _run_on_shapes(backbone.build, _build(backbone), torch.empty(2, 3, size, size))
    yield "runs on shapes alone, for plans"


def check_dataset(name: str, dataset: Dataset, *, data: Path | None = None) -> Iterator[str]:
    """Hold a data set to the contract, with the files that are on this machine.

    Yields:
        What holds, in words.

    Raises:
        PluginError, DataError: what does not.
    """
    options = parsing.options(dataset.options, {}, place="data.options")
    found = data_files.find_data(name, dataset, options, Places(data=data, offline=True), fetch=False)
    yield f"is found: {len(found.files)} files" + (f" in {found.root}" if found.files else ", made from its options")
    images = datasets.read_data(dataset, found, options)
    if dataset.classes is not None and dataset.classes != len(images.classes):
        raise PluginError(f"{dataset.read}: gives {len(images.classes)} classes, declared are {dataset.classes}.")
    yield f"has {len(images.classes)} classes with names of their own"
    for split, each in images.splits.items():
        yield f"{split}: {len(each.targets)} images with targets in range"
    listed = {file for each in images.splits.values() for file in each.files if isinstance(file, Path)} - set(found.files)
    if listed and found.files:
        file_digests.content(sorted(listed))  # each can be read
        yield f"lists {units.images(len(listed))} beside its files: their content is in the digest of a run"


def check_head(head: Head) -> Iterator[str]:
    """Hold a head to the contract: of a trained one shapes, gradients and the meta device, of a solved one its fit and its file.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    options = parsing.options(head.options, {}, place="head.options")
    yield from _check_solved(head, options) if head.solve else _check_trained(head, options)


def check_logger(name: str, logger: Logger) -> Iterator[str]:
    """Hold a logger to the contract: it takes a run with two epochs and its end, in a folder that is removed afterwards.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    logger.check_installed(name)
    options = parsing.options(logger.options, {}, place="loggers.options")
    values = {"train/loss": 1.0, "train/accuracy": 0.5, "lr/head": 0.1}
    with tempfile.TemporaryDirectory() as folder:
        run = LoggedRun("check", "main", 0, None, Path(folder), {"optimizer.name": "adamw"}, ({"epoch": 1, **values},))
        opened = plugin.call(logger.open, run, options)
        yield "takes a run that continues after its first epoch"
        for method, given in (("epoch", {"epoch": 2, **values}), ("end", LoggedEnd("finished", {"best_epoch": 2}))):
            try:
                getattr(opened, method)(given)
            except Exception as error:  # whatever a third party's code raises
                raise PluginError(f"{logger.open}: its method {method} fails: {reason(error)}.") from error
            yield f"takes {'an epoch' if method == 'epoch' else 'the end of the run'}"


def check_adapter(adapter: Adapter) -> Iterator[str]:
    """Hold a method of domain adaptation to the contract: the maps of one that is solved, loss and gradient of one that is trained.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    options = parsing.options(adapter.options, {}, place="adapt.options")
    if adapter.batch_norm:
        yield "BatchNorm gets the target's statistics"
    if not (adapter.solve or adapter.loss):
        return
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(_IMAGES, _FEATURES, generator=generator)
    target = 2 * torch.randn(_IMAGES, _FEATURES, generator=generator) + 1
    if adapter.solve:
        found = plugin.call(adapter.solve, source.numpy(), target.numpy(), options)
        if not isinstance(found, Alignment):
            raise PluginError(f"{adapter.solve}: gave {type(found).__name__}, not a tlkit.plugin.Alignment.")
        shapes = found.source(source.numpy()).shape, found.target(target.numpy()).shape
        if shapes[0] != shapes[1] or shapes[0][0] != _IMAGES:
            raise PluginError(f"{adapter.solve}: maps {_IMAGES} images of both domains to {shapes[0]} and {shapes[1]}.")
        yield f"maps {_FEATURES} features of both domains to {shapes[0][1]}"
        return
    head = nn.Linear(_FEATURES, _CLASSES)
    domain = building.build_module(adapter.domain_head, _FEATURES, _CLASSES, options) if adapter.domain_head else None
    source.requires_grad_()
    target.requires_grad_()
    batch = DomainBatch(
        source, target, head(source), head(target), torch.arange(_IMAGES) % _CLASSES, head, domain, torch.tensor(1.0),
    )  # fmt: skip
    loss = plugin.call(adapter.loss, batch, options)
    if not isinstance(loss, Tensor) or loss.shape != () or not bool(torch.isfinite(loss)):
        raise PluginError(f"{adapter.loss}: its loss is to be one finite number, a tensor of shape ().")
    yield "gives a loss of a source and a target batch"
    loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types here
    if target.grad is None or not bool(torch.isfinite(target.grad).all()):
        raise PluginError(f"{adapter.loss}: its loss has no finite gradient with respect to the target's features.")
    yield "has a gradient with respect to the target's features"


def check_executor(name: str, executor: Executor) -> Iterator[str]:
    """Hold an executor to the contract: it calls work elsewhere, and gives what that returned or raised.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    executor.check_installed(name)
    if not executor.run:
        yield "carries out runs in this process"
        return
    given = dict(remote_jobs.done_by(executor, {"answers": _answer, "fails": _fail}, Demand(), lambda: None))
    if given.get("answers") != _answer():
        raise PluginError(f"{executor.run}: gave {given.get('answers')!r} for work that returns {_answer()!r}.")
    yield "calls work and gives what it returned"
    if not isinstance(given.get("fails"), Exception):
        raise PluginError(f"{executor.run}: gave {given.get('fails')!r} for work that raises.")
    yield "gives the exception of work that failed"


def _answer() -> str:
    return "done"


def _fail() -> str:
    raise RuntimeError("this is to fail")


def _check_trained(head: Head, options: BaseModel | None) -> Iterator[str]:
    task = tasks.get(head.task)
    classes = task.outputs(_CLASSES)
    shape = (_IMAGES, _FEATURES, 4, 4) if head.maps else (_IMAGES, _FEATURES)

    made = building.build_module(head.build, _FEATURES, classes, options)
    logits = made(torch.randn(shape))
    if not isinstance(logits, Tensor) or logits.shape[:2] != (_IMAGES, classes) or not _has_loss(task, logits):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise PluginError(f"{head.build}: gives {given} for {shape}.", f"logits {(_IMAGES, classes)}")
    yield f"gives logits of {classes} classes for {'maps' if head.maps else 'features'}"
    logits.square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    unused = [name for name, parameter in made.named_parameters() if parameter.grad is None]
    if unused:
        raise PluginError(
            f"{head.build}: its answer does not depend on {unused[0]}.", "a parameter that is not used cannot learn"
        )
    yield f"learns: {sum(1 for _ in made.parameters())} tensors have gradients"
    with torch.device("meta"):
        _run_on_shapes(head.build, building.build_module(head.build, _FEATURES, classes, options), torch.empty(shape))
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


def _run_on_shapes(target: str, module: nn.Module, x: Tensor) -> None:
    """Run a module on the meta device, as a plan does."""
    try:
        module.eval()(x)
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

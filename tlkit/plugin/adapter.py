"""A method of domain adaptation: it aligns stored features once, or adds a loss to every training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel

from tlkit.errors import PluginError
from tlkit.plugin.options import check_options

Tensor = TypeVar("Tensor")  # torch.Tensor; importing a plugin's value imports no torch


@dataclass(frozen=True, eq=False)
class DomainBatch(Generic[Tensor]):
    """What the loss of a method gets in a training step: a source and a target batch of one size. There are no target labels.

    Attributes:
        source: What the head reads of the source images, (N, F).
        target: What the head reads of the target images, (N, F).
        source_logits: (N, C).
        target_logits: (N, C).
        labels: Classes of the source images, (N,); with mixup or cutmix the share of every class, (N, C).
        head: The head, from (N, F) to (N, C).
        domain_head: The module that `Adapter.domain_head` built; None without.
        ramp: () from 0 to 1 over the training, as DANN's schedule; 1 where the recipe says `ramp = false`.
        second: What the head reads of the target images in a second view, (N, F), where `Adapter.second_view` asks for it; else None.
        second_logits: Of the same, (N, C); else None.
        source_stages: Features of the source images after each stage that `Adapter.stages` asks for, by its name, first to last: the mean
            of its output over the picture, (N, F of the stage).
        target_stages: The same of the target images.
        second_stages: The same of the second view; {} without one.
        pseudo_labels: Classes that the target images have in this epoch, (N,), by prototypes of the weights at its start; None for a method
            that is not source-free.
    """

    source: Tensor
    target: Tensor
    source_logits: Tensor
    target_logits: Tensor
    labels: Tensor
    head: Callable[[Tensor], Tensor]
    domain_head: Callable[..., Tensor] | None
    ramp: Tensor
    pseudo_labels: Tensor | None = None
    second: Tensor | None = None
    second_logits: Tensor | None = None
    source_stages: Mapping[str, Tensor] = field(default_factory=dict)
    target_stages: Mapping[str, Tensor] = field(default_factory=dict)
    second_stages: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Adapter:
    """A method of domain adaptation: `solve` aligns the features of a frozen network once, `loss` is added to every training step.

    Attributes:
        solve: "module:function"(source, target, options) -> Alignment, from features (N, F) and (M, F) float32, where no step is
            taken; "" for a method that is trained.
        loss: "module:function"(batch: DomainBatch, options) -> a tensor () that is added to the loss of the source images, times
            `adapt.weight`; "" for a method that is solved.
        options: The plugin's own options.
        domain_head: "module:function"(features, classes, options) -> torch.nn.Module, which trains with the network, in the
            group "head.domain" of [lr_groups]; "" for none.
        batch_norm: The statistics of every BatchNorm layer are replaced by those of the target, once, before anything is learned. Such a
            method needs no `solve` and no `loss`.
        compares: The loss compares source images with target images. Of those none are mixed, so mixup and cutmix are refused.
        moves_features: The loss works by training what the head reads, so it is of no use where the whole backbone is frozen.
        together: BatchNorm sees source and target images as one batch; else each domain by itself.
        second_view: Each target image is in a step twice, and the second time augmented by `adapt.second_view` too.
        stages: Stages of the backbone whose features the loss gets beside what the head reads: numbers that count from the last stage,
            (-2, -1) for the last two, or the name of an option in which a recipe lists stages by their names; () for none.
        partial: The method works where the target lacks some of the classes.
        source_free: No image of the source is trained on: the run begins with the weights of one that was, the head is frozen, and a batch
            has target images alone, with pseudo-labels. The loss is the whole loss of a step.
        summary: One line.
    """

    solve: str = ""
    loss: str = ""
    options: type[BaseModel] | None = None
    domain_head: str = ""
    batch_norm: bool = False
    compares: bool = False
    moves_features: bool = False
    together: bool = False
    second_view: bool = False
    stages: tuple[int, ...] | str = ()
    partial: bool = False
    source_free: bool = False
    summary: str = ""

    def __post_init__(self) -> None:
        """Raise PluginError where the options are no model, or it is neither solved nor trained."""
        check_options(self.target, self.options)
        if (self.solve and self.loss) or not (self.solve or self.loss or self.batch_norm):
            raise PluginError(
                f"adapter {self.target or self.summary}: is to be either solved or trained.", "solve=, loss=, or batch_norm="
            )
        if self.source_free and (not self.loss or self.domain_head):
            raise PluginError(
                f"adapter {self.target or self.summary}: is source-free, so it has a loss and no domain head.",
                "source_free=False",
            )
        if self.second_view and (not self.loss or self.source_free):
            raise PluginError(
                f"adapter {self.target or self.summary}: has a second view, which only a loss beside the source's sees.",
                "second_view=False",
            )
        self._check_stages()
        if self.solve and self.domain_head:
            raise PluginError(
                f"adapter {self.solve}: has a domain head, which only a loss trains.", "loss=, or no domain_head="
            )

    def _check_stages(self) -> None:
        """Raise PluginError where `stages` is not what it may be, or no loss gets their features."""
        name = f"adapter {self.target or self.summary}"
        if self.stages and not self.loss:
            raise PluginError(f"{name}: has stages, whose features only a loss gets.", "stages=()")
        if isinstance(self.stages, str):
            fields = () if self.options is None else tuple(self.options.model_fields)
            if self.stages and self.stages not in fields:
                raise PluginError(
                    f"{name}: stages is {self.stages!r}, and it has no such option.", "a list of names in options="
                )
        elif len(set(self.stages)) < len(self.stages) or not all(isinstance(each, int) and each < 0 for each in self.stages):
            raise PluginError(
                f"{name}: stages is {self.stages}.", "different numbers from the last stage, for instance (-2, -1)"
            )

    @property
    def target(self) -> str:
        """The "module:function" that carries it out: `solve` or `loss`; "" where only statistics are replaced."""
        return self.solve or self.loss

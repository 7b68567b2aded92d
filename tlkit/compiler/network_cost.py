"""Build an arm's network on the meta device, and run one image through it there to count operations and read shapes.

The rule: arms that are planned within `shared_networks.sharing` share a network that is built from the same, so its modes and what of it trains
are set anew for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tlkit import tasks
from tlkit.compiler import shared_networks
from tlkit.errors import PluginError
from tlkit.network import building
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network, pool
from tlkit.network.shapes import does_not_run
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Backbone
from tlkit.recipe.maps import AUX, HEAD


@dataclass(frozen=True)
class Cost:
    """What one image costs in every stage, the head (`HEAD`) and all auxiliary heads together (`AUX`).

    Attributes:
        flops: Floating-point operations of a forward pass.
        outputs: Shape of the output, without the batch.
    """

    flops: Mapping[str, int]
    outputs: Mapping[str, tuple[int, ...]]

    @property
    def total(self) -> int:
        """Operations of a prediction, which runs no auxiliary head."""
        return sum(count for name, count in self.flops.items() if name != AUX)


def on_meta(resolved: Resolved, classes: int) -> Network:
    """Build the network of an arm on the meta device.

    Args:
        resolved: The arm with its plugins.
        classes: That the head tells apart.
    """
    build = partial(
        building.build, resolved.backbone, resolved.head, classes=classes,
        backbone_options=resolved.backbone_options, head_options=resolved.head_options, seed=0,
        image_size=resolved.image_size, channels=resolved.channels, domain_head=resolved.domain_head,
        compared=resolved.compared,
    )  # fmt: skip
    with torch.device("meta"):
        return shared_networks.network(build)


def cost(network: Network, resolved: Resolved, aux_heads: AuxHeads, classes: int) -> Cost:
    """Run an image through every stage, the head and the auxiliary heads; the network is frozen for it.

    Args:
        network: On the meta device.
        resolved: The arm with its plugins; its image size counts.
        aux_heads: The auxiliary heads; those that can be used are run.
        classes: That the head tells apart.

    Raises:
        PluginError: a stage or a head does not run, or its output is not as it was declared.
    """
    freeze_(network, lambda _: False)
    question = ("cost", resolved.image_size, tuple(aux_heads.usable))
    return shared_networks.once(network, question, lambda: _cost(network, resolved, aux_heads, classes))


def _cost(network: Network, resolved: Resolved, aux_heads: AuxHeads, classes: int) -> Cost:
    """Compute the cost of a frozen network."""
    flops: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    whole = tasks.get(resolved.head.task).targets.whole
    x = torch.empty(1, resolved.channels, *resolved.image_size, device="meta")
    with torch.no_grad():
        carried = network.carry(x, stop=0)
        for index, name in enumerate([*network.stages, HEAD]):
            if name == HEAD:
                _check_width(carried.last, resolved.backbone)
            try:
                with FlopCounterMode(display=False) as counter:
                    if name != HEAD:
                        carried = network.packing.onward(carried, index, network.stages[name](carried.last))
                    x = network.answer_of(carried) if name == HEAD else carried.last
                flops[name], outputs[name] = counter.get_total_flops(), tuple(x.shape[1:])
            except Exception as error:  # whatever a third party's forward raises
                target = resolved.head.target if name == HEAD else resolved.backbone.build
                raise does_not_run(target, f"stage {name}", resolved.image_size, error, whole=whole) from error
        _check_answer(network, resolved, classes, outputs[HEAD])
        for name in aux_heads.usable:
            aux_head = resolved.backbone.aux_heads[name]
            x = torch.empty(1, *outputs[aux_head.after], device="meta")
            try:
                with FlopCounterMode(display=False) as counter:
                    outputs[AUX] = tuple(network.aux_heads[name](x).shape[1:])
                flops[AUX] = flops.get(AUX, 0) + counter.get_total_flops()
            except Exception as error:  # likewise
                raise does_not_run(aux_head.build, f"auxiliary head {name}", resolved.image_size, error, whole=whole) from error
            if outputs[AUX] != outputs[HEAD]:
                raise PluginError(
                    f"{aux_head.build}: auxiliary head {name} gives {outputs[AUX]} for an image, the head {outputs[HEAD]}."
                )
    return Cost(flops, outputs)


def _check_width(x: Tensor, backbone: Backbone) -> None:
    """Refuse a whole backbone whose pooled output has another width than it declares."""
    if not backbone.whole:
        return
    width = tuple(pool(x).shape)
    if width != (1, backbone.features):
        raise PluginError(
            f"{backbone.build}: its pooled output of one image is {width}, declared are {backbone.features} features.",
            f"features={width[-1]}" if len(width) == 2 else "from (N, 3, H, W) to (N, features, h, w) or (N, features)",
        )


def _check_answer(network: Network, resolved: Resolved, classes: int, found: tuple[int, ...]) -> None:
    """Refuse a head of a whole image's features whose answer to one image has another width than it is asked for."""
    task, head = tasks.get(resolved.head.task), resolved.head
    if not head.build or head.pixels or task.targets.whole:
        return
    asked = torch.empty(1, task.outputs(classes), device="meta")
    if found[:1] != tuple(task.expand(asked, network.positive).shape[1:]):  # as `answer_of` gives it, without places
        raise PluginError(
            f"{head.target}: gives {found} for an image, and is asked for {asked.shape[1]} outputs of {classes} classes.",
            f"it is a fault of the plugin, which tlkit check {resolved.arm.head.kind} describes",
        )

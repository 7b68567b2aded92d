"""Check that the members of [ensemble] can predict together. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tlkit import tasks
from tlkit.errors import TlkitError
from tlkit.plans.resolved import Resolved
from tlkit.recipe.ensemble import Ensemble


def problems(ensemble: Ensemble, arms: Mapping[str, Resolved]) -> Iterator[TlkitError]:
    """Yield what keeps arms from being members: a solved head, another network, other images, another kind of problem.

    Args:
        ensemble: The recipe's table, whose arms there are.
        arms: All arms of the recipe.
    """
    for name, member in arms.items():
        if tasks.get(member.head.task).reduction is not None:
            yield TlkitError(
                f"ensemble: {name} gives masks or boxes, whose probabilities are not kept, so they are not averaged.",
                "leave [ensemble] out",
            )
    by_weights = ensemble.average == "weights"
    members = ensemble.members if isinstance(ensemble.members, list) else list(arms)
    for name in members if by_weights else ():
        if arms[name].learns == "solved":
            yield TlkitError(
                f"ensemble.average: weights cannot be averaged of {name}, whose {arms[name].arm.head.kind} head is solved.",
                'average = "probabilities"',
            )
    if not isinstance(ensemble.members, list):
        return
    first, *others = ensemble.members
    for name in others:
        if by_weights and (key := _other_network(arms[first], arms[name])):
            yield TlkitError(
                f"ensemble.average: the weights of {first} and {name} are of different networks: {key}.",
                'average = "probabilities"',
            )
        if key := _other_images(arms[first], arms[name]):
            yield TlkitError(
                f"ensemble.members: {first} and {name} do not predict for the same images: {key}.", "arms of the same data"
            )
        elif arms[first].head.task != arms[name].head.task:
            yield TlkitError(
                f"ensemble.members: {first} and {name} do not answer the same question: their tasks are "
                f"{arms[first].head.task} and {arms[name].head.task}.",
                "heads of the same task",
            )


def _other_network(first: Resolved, other: Resolved) -> str:
    """Return the keys by which two networks differ, with their values; "" where they are built alike."""
    mine, theirs = first.arm, other.arm
    values = {
        "backbone.name": (mine.backbone.name, theirs.backbone.name),
        "backbone.options": (mine.backbone.options, theirs.backbone.options),
        "head.kind": (mine.head.kind, theirs.head.kind),
        "head.options": (mine.head.options, theirs.head.options),
        "head.embed": (mine.head.embed, theirs.head.embed),
        "head.pooled": (mine.head.pooled, theirs.head.pooled),
        "head.positive": (mine.head.positive, theirs.head.positive),
        "data.channels": (mine.data.channels, theirs.data.channels),
        "data.image_size": (first.image_size, other.image_size),
        "the preprocessing": (first.convention, other.convention),
    }
    differing = [key for key, (one, another) in values.items() if one != another]
    return ", ".join(differing)


def _other_images(first: Resolved, other: Resolved) -> str:
    """Return the keys by which the images of two arms differ; "" where they have the same."""
    mine, theirs = first.arm.data, other.arm.data
    keys = ("name", "options", "split", "on_corrupt", "max_pixels")
    return ", ".join(f"data.{key}" for key in keys if getattr(mine, key) != getattr(theirs, key))

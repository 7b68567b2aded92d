"""Where the plugins of an arm come from, and which of them changed since a job was trained. Imports no torch."""

from __future__ import annotations

from tlkit.plans.jobs import Job
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Adapter, Backbone, Dataset, Head, provenance
from tlkit.plugin.provenance import Provenance
from tlkit.record import run_folder


def plugins_of(resolved: Resolved, *, again: bool = False) -> dict[str, Provenance]:
    """Return where the plugins of an arm come from, by the table of the recipe that names them.

    Args:
        resolved: The arm.
        again: Read every source file, whatever is remembered of it.
    """
    arm = resolved.arm
    named: dict[str, tuple[Adapter | Backbone | Dataset | Head, str]] = {
        "backbone": (resolved.backbone, arm.backbone.name),
        "head": (resolved.head, arm.head.kind),
        **{table: (source.dataset, source.name) for table, source in resolved.sources.items()},
    }
    if resolved.unlabelled is None and resolved.adaptation is not None and resolved.adaptation.adapter is not None:
        named["adapt"] = (resolved.adaptation.adapter, resolved.adaptation.table.method)
    return {table: provenance.of(value, name, again=again) for table, (value, name) in named.items()}


def changes(job: Job, *, again: bool = False) -> list[str]:
    """Say which plugins changed since a job was trained; nothing where it was not."""
    if not (job.folder / run_folder.RESOLVED).is_file():
        return []
    return provenance.changes(run_folder.resolved(job.folder).get("plugins"), plugins_of(job.resolved, again=again))

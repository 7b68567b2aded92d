"""What a run's folder says of the run before it trains: its recipe, its plan, its images, and what was measured or resolved for it."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
import torch

from tlkit import files
from tlkit.engine import row_keys
from tlkit.engine.images import decode
from tlkit.errors import TlkitError
from tlkit.plans import auto_rates, plan_json, plugin_changes
from tlkit.plans.jobs import Job, absolute_arm
from tlkit.recipe.recipe import FORMAT, arm_toml
from tlkit.record import kernels, long_lists, run_folder
from tlkit.record.formats import ComputeFormat
from tlkit.record.run_folder import RunResult
from tlkit.run.preparation import Prepared


def write(prepared: Prepared, *, keep_plan: bool = False) -> None:
    """Write recipe.toml, plan.json and split.json; a plan that can be read may be kept: it has the reasons of when the run began."""
    job, folder = prepared.job, prepared.job.folder
    header: dict[str, Any] = {"format": FORMAT, "name": job.resolved.recipe, "seeds": [job.seed]}
    if job.resolved.folds is not None:
        header["cross_validation"] = {"folds": job.resolved.folds}
    files.replace(folder / run_folder.RECIPE, tomli_w.dumps(header | arm_toml(absolute_arm(job))))
    if not keep_plan or not _is_plan(folder / run_folder.PLAN):
        files.replace(folder / run_folder.PLAN, plan_json.to_json(prepared.plan))
    files.replace_with(folder / run_folder.SPLIT, itertools.chain(long_lists.pieces(prepared.split), [b"\n"]))


def resolved(prepared: Prepared, device: torch.device, *, pieces: int = 1) -> dict[str, Any]:
    """Return the content of resolved.toml, which a continuation uses; `pieces` of a batch pass the network one after the other."""
    job, plan = prepared.job, prepared.plan
    cuts = {len(phase.prefix): phase.fixed.compute_format for phase in plan.phases if phase.fixed is not None}
    return {
        "format": FORMAT,
        "digest": job.digest,
        "inputs": dict(job.inputs),
        "plugins": {part: each.record() for part, each in plugin_changes.plugins_of(job.resolved).items()},
        "batch_size": plan.batch_size,
        **({"pieces": pieces} if pieces > 1 else {}),
        "image_size": list(plan.image_size),
        **form(plan.compute_format),
        "evaluation": form(plan.evaluation_format or plan.compute_format),
        "classes": list(prepared.images.classes),
        "input": asdict(plan.input),
        "decoding": decode.described(plan.tables.data, plan.input),
        "machine": row_keys.machine(device),
        "kernels": kernels.to_rows(plan.kernels),
        **({"processes": shared.count, "batch_norm": shared.batch_norm} if (shared := plan.processes) is not None else {}),
        **({"rates": rates} if (rates := auto_rates.kept(plan)) else {}),
        "prefixes": [{"stages": stages, **form(compute_format)} for stages, compute_format in cuts.items()],
    }


def damage(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what of a run's resolved.toml cannot be of this run; "" where all of it can. A process that was killed left no hash of it."""
    now = tomllib.loads(tomli_w.dumps(now))
    names = ("digest", "inputs", "image_size", "classes", "input")
    return ", ".join(name for name in names if before.get(name) != now[name])


def _is_plan(path: Path) -> bool:
    try:
        plan_json.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TlkitError):
        return False
    return True


def is_other_form(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether what a run resolves to now is computed otherwise than when it began; a run of an older version has no kernels."""
    names = ("batch_size", "precision", "memory_format", "prefixes")
    own = {name: before[name] for name in ("precision", "memory_format")}
    changed = any(before[name] != now[name] for name in names) or before.get("evaluation", own) != now["evaluation"]
    return changed or before.get("kernels", []) != now["kernels"] or before.get("rates") != now.get("rates")


def why_inexact(before: Mapping[str, Any], now: Mapping[str, Any], result: RunResult | None, job: Job) -> str:
    """Say why a run that is continued may have other bits than one that was never stopped; "" where it has the same.

    Args:
        before: What it resolved to when it began.
        now: The same now.
        result: Its result so far.
        job: The run.
    """
    continued = "it was continued on another machine, or with other threads or versions"
    if result is not None and not result.exact:
        return result.why_inexact or continued
    if before.get("machine") != now["machine"]:
        return continued
    if before.get("processes", 1) != now.get("processes", 1):
        return "it was continued with another number of processes"
    return "; ".join(plugin_changes.changes(job))


def form(compute_format: ComputeFormat) -> dict[str, str]:
    """Return a compute format as resolved.toml has it."""
    return {"precision": compute_format.precision, "memory_format": compute_format.layout}

"""What result.json says of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tlkit.engine import row_keys
from tlkit.engine.learner import Learner
from tlkit.events import Epoch
from tlkit.record import report_data, run_files
from tlkit.record.run_folder import Parameters, RunResult
from tlkit.run.preparation import Prepared

Status = Literal["running", "interrupted", "failed", "pruned", "finished"]


def build(
    prepared: Prepared, fit: Learner, *, status: Status, error: str | None, best: Epoch | None, epochs: int, seconds: float,
    why_inexact: str, times: Mapping[str, float],
) -> RunResult:  # fmt: skip
    """Return the result of a run as it stands; the files of one that goes on are not hashed.

    Args:
        prepared: The run.
        fit: What trained it.
        status: How it stands.
        error: Why it failed.
        best: Its best epoch.
        epochs: That are saved.
        seconds: That it has taken.
        why_inexact: Why the same run may have other bits another time; "" where it has the same.
        times: Seconds of what was done after the last epoch: "test" and "report".
    """
    plan, job = prepared.plan, prepared.job
    return RunResult(
        recipe=plan.recipe,
        arm=plan.arm,
        seed=job.seed,
        fold=job.fold,
        status=status,
        digest=job.digest,
        exact=not why_inexact,
        why_inexact=why_inexact,
        train=dict(best.train) if best is not None else None,
        test=dict(best.test) if best is not None and best.test is not None else None,
        validation=dict(best.validation) if best is not None and best.validation is not None else None,
        also={name: dict(scores) for name, scores in best.also.items()} if best is not None else {},
        target=dict(best.target) if best is not None and best.target is not None else None,
        best_epoch=best.epoch if best is not None else None,
        select_by=plan.select_by,
        epochs=epochs,
        seconds=round(seconds, 3),
        times={kind: round(each, 3) for kind, each in times.items()},
        parameters=Parameters(total=plan.total, trained=plan.trained),
        skipped_images=len(prepared.decoded.skipped),
        adapt=plan.tables.adapt.model_dump(mode="json") if plan.tables.adapt is not None else None,
        domains=report_data.domains(job.folder) if status == "finished" and plan.tables.adapt is not None else None,
        warnings=(*plan.warnings, *fit.warnings),
        error=error,
        versions=row_keys.versions(),
        files={} if status == "running" else run_files.record(job.folder),
    )

"""A run in MLflow: the recipe's keys as parameters, metrics per epoch. A run that continues goes on with its MLflow run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from tlkit.plugin import LoggedEnd, LoggedRun
from tlkit_loggers import MlflowOptions

FILE = "mlflow_run.txt"  # in the folder of a run: the id of its MLflow run
_LONGEST = 500  # characters of a parameter that every server accepts
_AT_ONCE = 100  # parameters in one call: MLflow's limit
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


def open_(run: LoggedRun, options: MlflowOptions) -> MlflowRun:
    """Begin an MLflow run, or go on with the one of a run that continues."""
    client = MlflowClient(tracking_uri=options.tracking_uri)
    known = run.folder / FILE
    if run.before and known.is_file():
        number = known.read_text(encoding="utf-8").strip()
        client.update_run(number, status="RUNNING")
        return MlflowRun(client, number)
    name = options.experiment or run.recipe
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment is not None else client.create_experiment(name)
    number = client.create_run(experiment_id, run_name=run.folder.name).info.run_id
    params = [Param(key, str(value)[:_LONGEST]) for key, value in {**run.settings, "seed": run.seed}.items() if str(value)]
    tags = [RunTag("arm", run.arm), RunTag("recipe", run.recipe), RunTag("folder", str(run.folder.resolve()))]
    if run.fold is not None:
        tags.append(RunTag("fold", str(run.fold)))
    for start in range(0, len(params), _AT_ONCE):
        client.log_batch(number, params=params[start : start + _AT_ONCE])
    client.log_batch(number, tags=tags)
    known.write_text(number + "\n", encoding="utf-8")
    logged = MlflowRun(client, number)
    for values in run.before:
        logged.epoch(values)
    return logged


class MlflowRun:
    """One MLflow run.

    Args:
        client: MLflow's.
        number: Id of the run.
    """

    def __init__(self, client: MlflowClient, number: str) -> None:
        self._client, self._number = client, number

    def epoch(self, values: Mapping[str, float]) -> None:
        """Log the values of an epoch."""
        self._log({name: value for name, value in values.items() if name != "epoch"}, int(values["epoch"]))

    def end(self, end: LoggedEnd) -> None:
        """Log the values of the best epoch as "best/..", and end the MLflow run."""
        best = int(end.values.get("best_epoch", 0))
        self._log({f"best/{name}": value for name, value in end.values.items() if "/" in name}, best)
        self._client.set_terminated(self._number, status=_STATUS[end.status])

    def _log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics: Sequence[Metric] = [Metric(name, float(value), now, step) for name, value in values.items()]
        if metrics:
            self._client.log_batch(self._number, metrics=metrics)

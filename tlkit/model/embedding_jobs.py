"""Embed shards with an executor: each is a piece of work that any worker does once, and finds done where it is called again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import tlkit
from tlkit.errors import DataError, RunFailed, TlkitError
from tlkit.model import backbone_features
from tlkit.plugin import Demand, Executor
from tlkit.run import executor as devices
from tlkit.run import executor_calls, loading, remote_jobs, shard_embeddings, torch_settings
from tlkit.run.prediction import Predictor
from tlkit.run.shard_embeddings import Embedded, Job
from tlkit.run.stored_embeddings import StoredEmbeddings


@dataclass(frozen=True)
class Source:
    """The network that embeds.

    Attributes:
        name: The folder of a run, or the name of a backbone.
        weights: Of a backbone; "" for a run.
        device: Of --device.
        offline: Forbid downloads.
        max_pixels: Of --max-pixels; None for the limit of the recipe.
    """

    name: str
    weights: str
    device: str
    offline: bool
    max_pixels: int | None = None

    def load(self, note: Callable[[str], None]) -> Predictor:
        """Return the network."""
        device = devices.device_of(self.device)
        if self.weights:
            return backbone_features.load(self.name, weights=self.weights, device=device, offline=self.offline)
        return loading.load(Path(self.name), arm=None, device=device, note=note)


def embed(
    jobs: Sequence[Job], source: Source, at: str | None, *, place: tuple[Executor, Demand], watch: Callable[[], None]
) -> Iterator[Embedded | TlkitError]:
    """Yield what became of each shard, as they end.

    Args:
        jobs: The shards.
        source: The network.
        at: Stage whose output is taken; None for the last.
        place: The executor, and what each shard needs.
        watch: Called all the time; raises to stop.

    Raises:
        TlkitError: the executor cannot begin.
    """
    executor, demand = place
    told = {
        "version": tlkit.__version__, "environment": remote_jobs.environment(), "working": str(Path.cwd()), "threads": demand.cpus,
        "source": asdict(source), "at": at,
    }  # fmt: skip
    work = {
        job.out.name: partial(
            carry_out,
            json.dumps(
                {**told, "shard": job.shard, "state": job.state, "out": str(job.out.absolute()), "network": dict(job.network)}
            ),
        )
        for job in jobs
    }  # fmt: skip
    missing = set(work)
    with executor_calls.reached(executor, demand):
        for name, given in executor_calls.done_by(executor, work, demand, watch):
            missing.discard(name)
            yield RunFailed(f"{name}: {given}") if isinstance(given, Exception) else _read(json.loads(given))
    for name in sorted(missing):
        yield RunFailed(f"{name}: {executor.run} did not say what became of it.")


def carry_out(sent: str) -> str:
    """Embed a shard in this process; return what became of it."""
    spec = json.loads(sent)
    os.environ.update(spec["environment"])
    before = torch.get_num_threads()
    torch.set_num_threads(spec["threads"])
    try:
        if spec["version"] != tlkit.__version__:
            raise RunFailed(f"a worker has tlkit {tlkit.__version__}, and this is tlkit {spec['version']}.", "install the same")
        with chdir(spec["working"]):
            found, device = _network(Source(**spec["source"]), spec["at"], json.dumps(spec["network"]))
            job = Job(spec["shard"], spec["state"], Path(spec["out"]), spec["network"])
            if not job.out.parent.is_dir():
                raise RunFailed(
                    f"{job.out.parent}: a worker does not see this folder.",
                    "it has to be on a file system that all workers share",
                )
            with torch_settings.applied(device):
                done = shard_embeddings.embed(job, found, progress=lambda _: None)
    except TlkitError as error:
        return json.dumps({"problem": error.problem, "hints": error.hints})
    finally:
        torch.set_num_threads(before)
    return json.dumps({"images": done.images, "failed": [[each.problem, *each.hints] for each in done.failed]})


@cache
def _network(source: Source, at: str | None, known: str) -> tuple[StoredEmbeddings, torch.device]:
    """Return the network and its device; a worker loads it once for all of its shards.

    Raises:
        RunFailed: it is another than the one that is `known` where the shards were sent from.
    """
    predictor = source.load(lambda _: None).limited(source.max_pixels)
    if json.dumps(shard_embeddings.network_of(predictor, at)) != known:
        raise RunFailed(f"{source.name}: a worker sees another network.", "the run or its weights have to be the same for all")
    return StoredEmbeddings(predictor, at=at, note=lambda _: None), predictor.device


def _read(given: Mapping[str, Any]) -> Embedded | TlkitError:
    if "problem" in given:
        return DataError(given["problem"], *given["hints"])
    return Embedded(given["images"], tuple(DataError(*each) for each in given["failed"]))

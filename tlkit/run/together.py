"""What the first process of several tells the others of each run, and what they do meanwhile: they compute, and write nothing.

The rule: both sides of a conversation stand here, in the same order. Where one process is alone nobody is told anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import torch

from tlkit import units
from tlkit.engine import row_keys
from tlkit.engine.images.library import Library
from tlkit.engine.images.residency import Residency
from tlkit.engine.learner import Learner
from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, RankLost, RunFailed, SaidElsewhere
from tlkit.events import Epoch, Observer
from tlkit.network.network import Network
from tlkit.plans import plan_json
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.record import run_folder
from tlkit.run import shared_pictures, training_sample
from tlkit.run.preparation import Prepared
from tlkit.run.signals import watching


def tell_jobs(ranks: Ranks, wanted: Sequence[Job], todo: Sequence[Job]) -> None:
    """Tell which runs are carried out, in order; every process then prepares them."""
    ranks.told(json.dumps([wanted.index(job) for job in todo]))


def tell_search(ranks: Ranks, searches: bool) -> None:
    """Tell whether trials of the recipe's search are carried out after its runs."""
    ranks.told(json.dumps(searches))


def hear_search(ranks: Ranks) -> bool:
    """Return what the first process tells by `tell_search`."""
    return bool(json.loads(ranks.told("")))


@dataclass(frozen=True)
class Telling:
    """The first process's side of one run.

    Attributes:
        ranks: The processes.
        learner: Of the run.
    """

    ranks: Ranks
    learner: Learner

    def is_done(self) -> None:
        """Tell that nothing of the run is to be computed."""
        self.ranks.told(json.dumps(None))

    def begins(self, *, resumed: bool, step: float, note: Callable[[str], None]) -> float | None:
        """Tell the plan, and the state of a run that is continued; return the part of a step, 0 to 1, that adding up takes.

        That is None where a step of one process was not measured, or nothing is added up.

        Args:
            resumed: It is continued.
            step: Seconds of a step on one process, as measured; 0 where it was not.
            note: Told what adding up takes of a step.

        Raises:
            RunFailed: the network of another process begins with other weights.
        """
        if self.ranks.size == 1:
            return None
        told = {"plan": plan_json.to_json(self.learner.plan), "scalars": self.learner.scalars() if resumed else None}
        self.ranks.told(json.dumps(told))
        if resumed:
            self.ranks.told_tensors(self.learner.tensors())
        else:
            _refuse_other_start(self.ranks, self.learner.network)
        seconds = _summing(self.ranks, self.learner.plan, self.learner.network)
        if not seconds:
            return None
        share = seconds / (seconds + step / self.ranks.size) if step else None
        note(_adding_up(self.learner.plan, seconds, share))
        return share

    def gives_up(self, pruned: bool) -> None:
        """Tell after an epoch whether the run ends before its last one."""
        self.ranks.told(json.dumps(bool(pruned)))  # Optuna's answer may be NumPy's

    def evaluates(self, best: Epoch | None) -> None:
        """Tell which epoch is evaluated at the end, whose weights the network holds; None for none."""
        if self.ranks.size == 1:
            return
        self.ranks.told(json.dumps(None if best is None else asdict(best)))
        if best is not None:
            self.ranks.told_tensors(self.learner.changing())


def follow(wanted: Sequence[Job], runtime: Runtime, *, verify: bool) -> None:
    """Compute with the first process whatever it carries out. Nothing is written, and nothing is said that it says.

    Args:
        wanted: The jobs of the recipe, as on the first process.
        runtime: Where and how this process computes.
        verify: Check every row of the store that is used.

    Raises:
        RankLost: another process ended.
        SaidElsewhere: a run failed or was stopped on all processes alike.
    """
    with following(runtime, verify=verify) as follower:
        prepared = []
        for number in json.loads(runtime.ranks.told("")):
            each = follower.prepared(wanted[number])
            prepared.append(each)
            each.start.release()
        for each in prepared:
            follower.run(each)


@dataclass(frozen=True)
class Follower:
    """A process that computes with the first one.

    Attributes:
        runtime: Where and how it computes.
        verify: Check every row of the store that is used.
        libraries: Decoded pictures of each data set.
        residency: What stays on the device.
    """

    runtime: Runtime
    verify: bool
    libraries: dict[int, Library] = field(default_factory=dict)
    residency: Residency = field(default_factory=Residency)

    def prepared(self, job: Job) -> Prepared:
        """Prepare a run that the first process prepares too."""
        return shared_pictures.prepare(
            job, self.libraries, self.runtime, earlier=run_folder.earlier_choices(job.folder), verify=self.verify,
            residency=self.residency,
        )  # fmt: skip

    def run(self, prepared: Prepared) -> None:
        """Compute a run that the first process carries out."""
        _follow_run(prepared, self.libraries[id(prepared.images)], self.runtime)


@contextmanager
def following(runtime: Runtime, *, verify: bool) -> Iterator[Follower]:
    """Compute with the first process within the block; the arguments are those of `follow`, and so is what is raised."""
    with watching() as watch:
        try:
            yield Follower(replace(runtime, observer=Observer(), watch=watch), verify)
        except RankLost:
            raise
        except (RunFailed, Interrupted) as error:
            raise SaidElsewhere(error.exit_code) from error


def _follow_run(prepared: Prepared, library: Library, runtime: Runtime) -> None:
    ranks = runtime.ranks
    told = json.loads(ranks.told(""))
    if told is None:
        return
    plan: Plan = plan_json.from_json(told["plan"])
    sample = training_sample.choose(plan, prepared.train, library, progress=lambda done, total: None)
    learner = replace(prepared, plan=plan, sample=sample).learner(runtime)
    if told["scalars"] is None:
        _refuse_other_start(ranks, learner.network)
    else:
        learner.resume_(ranks.told_tensors({}), told["scalars"])
    _summing(ranks, plan, learner.network)
    for _ in learner.epochs():  # the first process saves it
        if json.loads(ranks.told("")):
            return
    best = json.loads(ranks.told(""))
    if best is None:
        return
    weights = ranks.told_tensors({})
    with torch.no_grad():
        for name, tensor in learner.changing().items():
            tensor.copy_(weights[name])
    learner.evaluate_best(Epoch(**best))


def _summing(ranks: Ranks, plan: Plan, network: Network) -> float:
    """Measure on all processes the seconds that adding up as many bytes as a step does takes; 0 where there are no steps."""
    if plan.processes is None or plan.learns != "steps":
        return 0.0
    device = next(iter(network.tensors().values())).device
    flat, began = torch.zeros(plan.processes.summed // 4, device=device), 0.0
    for _ in range(2):  # the first time connections are made
        ranks.wait()
        began = time.perf_counter()
        ranks.sum_(flat)
        flat[:1].cpu()  # which waits for a GPU
    return time.perf_counter() - began


def _adding_up(plan: Plan, seconds: float, share: float | None) -> str:
    """Say what adding up takes, and which part of a step that is, where it is known."""
    assert plan.processes is not None
    summed = units.size(plan.processes.summed)
    text = f"{plan.arm}: a step of {plan.processes.count} processes adds up {summed} in {units.seconds(seconds)}"
    return text if share is None else f"{text}, {share:.0%} of its time as measured"


def _refuse_other_start(ranks: Ranks, network: Network) -> None:
    """Refuse to train networks that begin with different weights: their sums would mean nothing."""
    found = ranks.texts(row_keys.weights(sorted(network.tensors().items())))
    for rank, each in enumerate(found):
        if each != found[0]:
            raise RunFailed(
                f"process {rank} of {ranks.size}: its network begins with other weights than that of process 0.",
                "all processes need the same versions of torch and of the plugins",
            )

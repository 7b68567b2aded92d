"""Every job of a recipe, one after the other, on images that are decoded once for all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from tlkit import machine
from tlkit.engine.images.library import Library
from tlkit.engine.images.residency import Residency
from tlkit.engine.ranks.ranks import ALONE
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, RunFailed, RunLocked, TlkitError, option, reason
from tlkit.events import Observer
from tlkit.plans import run_order
from tlkit.plans.job_folders import finished
from tlkit.plans.jobs import Job
from tlkit.record import run_folder
from tlkit.run import busy, data_inspection, execution, memory, range_tests, shared_choices, shared_pictures, together
from tlkit.run.preparation import Prepared
from tlkit.run.save_times import SaveTimes
from tlkit.run.setup import Setup
from tlkit.run.signals import Watch, watching
from tlkit.store import cache


def device_of(name: str, *, note: Callable[[str], None] = lambda _: None) -> torch.device:
    """Return the device that --device names; "auto" is the GPU where there is one.

    Args:
        name: auto, cpu, cuda or cuda:N.
        note: Told where "auto" does not take a GPU because torch cannot use its driver.

    Raises:
        TlkitError: there is no such device here.
    """
    machine.refuse_unknown_device(name)
    with warnings.catch_warnings(record=True) as caught:  # torch warns of a driver that it cannot use
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if there else "cpu"
        if not there and caught:
            note("training on the CPU: there is an NVIDIA driver, and this torch cannot use it")
    elif str(name).startswith("cuda"):
        _refuse_missing_gpu(name, there=there)
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TlkitError(
            f"{option('device', name)}: cannot be used here. torch says: {reason(error)}.", option("device", "cpu")
        ) from error
    return device


def _refuse_missing_gpu(name: str, *, there: bool) -> None:
    """Say why a GPU that was asked for cannot be used."""
    count = torch.cuda.device_count() if there else 0
    number = int(name.partition(":")[2] or 0)
    if number < count:
        return
    if torch.version.cuda is None:
        why = "this torch is built without CUDA"
    elif not count:
        why = "torch finds no NVIDIA GPU with a driver that it can use"
    else:
        why = f"the last GPU is cuda:{count - 1}"
    raise TlkitError(f"{option('device', name)}: {why}.", option("device", "cpu"))


# Carries out runs that are prepared for a device, and returns what failed and then what is locked.
CarryOut = Callable[[Sequence[Prepared], Callable[[], None], torch.device], list[RunFailed | RunLocked]]


def train(wanted: Sequence[Job], setup: Setup, *, elsewhere: CarryOut | None = None) -> list[RunFailed | RunLocked]:
    """Carry out every job, then inspect their images; a job that fails, or that another process is running, does not stop the others.

    Everything that can be wrong with images and weights is found before the first job begins. With several processes, of which this is the
    first, a job that fails ends all of them: the others may be anywhere in it.

    Args:
        wanted: The jobs of one recipe; those that share stored outputs are carried out one after the other: see `run_order`.
        setup: How.
        elsewhere: Carries out the runs that are prepared, instead of this process.

    Returns:
        The failures, and then the runs that another process is still running after all others are done.

    Raises:
        TlkitError: of an image, weights or the plan, before anything is written.
    """
    cache.remove_abandoned()
    with watching() as watch:
        runs, runtime, ranks = _Runs(wanted, setup, watch), setup.runtime, setup.runtime.ranks
        todo = [job for job in wanted if not finished([job], again=setup.verify)]
        together.tell_jobs(ranks, wanted, todo)
        waiting = runs.prepare(todo)
        if elsewhere is None or not waiting:
            if ranks.size == 1:  # else the other processes were told the order before anything was planned
                waiting = [waiting[place] for place in run_order.order([each.plan for each in waiting])]
            failures = _in_turn(waiting, runs.carry_out, runtime)
        else:
            failures = elsewhere([runs.with_rates(each) for each in waiting], watch, runtime.device)
        if not failures:
            runs.inspect(waiting)
    return failures


class _Runs:
    """The runs of one recipe, and what they share while this process carries them out.

    Args:
        wanted: The jobs.
        setup: How.
        watch: Called between batches; raises to stop.
    """

    def __init__(self, wanted: Sequence[Job], setup: Setup, watch: Watch) -> None:
        self._wanted, self._setup, self._watch = wanted, setup, watch
        self._runtime = replace(setup.runtime, watch=watch)
        self._folder = wanted[0].folder.parent
        self._libraries: dict[int, Library] = {}
        self._residency = Residency()
        self._batches, self._rates = _batches(wanted), _rates(wanted)

    def prepare(self, todo: Sequence[Job]) -> list[Prepared]:
        """Prepare runs, with what all arms share. Only the first keeps its network; the others' are built again when their turn comes."""
        waiting: list[Prepared] = []
        for job in todo:
            prepared = self._prepared(job, self._runtime)
            self._batches[job.digest] = prepared.plan.batch_size
            if waiting:
                prepared.start.release()
            waiting.append(prepared)
            self._watch()
        if not waiting:
            return waiting
        setup = self._setup
        return shared_choices.share(waiting, setup.settings, self._folder, self._runtime, evaluation=setup.evaluation)

    def with_rates(self, prepared: Prepared) -> Prepared:
        """Return a run with the rates that its recipe leaves to a range test: those of another seed, else of a test now, which is kept."""
        rates, key = self._rates, (prepared.job.digest, prepared.job.fold)
        runtime = busy.watching(prepared, self._runtime)
        if key in rates:
            prepared = range_tests.with_rates(prepared, rates[key], why="from the range test of another seed")
        prepared, test = range_tests.settled(prepared, runtime)
        if test is not None:
            rates[key] = test.suggested or {}
            range_tests.keep(self._folder, [test])
        return prepared

    def carry_out(self, prepared: Prepared) -> None:
        """Train a run to its end."""
        setup, runtime = self._setup, busy.watching(prepared, self._runtime)
        saves = SaveTimes(setup.checkpoint_every, self._watch)
        execution.execute(self.with_rates(prepared), runtime, loggers=setup.loggers, saves=saves, sent=setup.sent)

    def inspect(self, carried_out: Sequence[Prepared]) -> None:
        """Inspect the images of the runs that were carried out; where every run was there, of all."""
        try:
            inspected = carried_out or [self._without_network(job) for job in self._wanted]
        except Interrupted:
            raise
        except TlkitError as error:  # all runs are finished, which needs none of this
            data_inspection.keep_failure(self._folder, self._wanted[0], error, observer=self._runtime.observer)
        else:
            data_inspection.keep(self._folder, inspected, self._runtime)

    def _prepared(self, job: Job, runtime: Runtime) -> Prepared:
        asking = replace(runtime, observer=_Asking(runtime.observer, runtime.watch))
        return shared_pictures.prepare(
            job, self._libraries, asking, earlier=run_folder.earlier_choices(job.folder),
            batch_size=self._batches.get(job.digest), verify=self._setup.verify, residency=self._residency,
        )  # fmt: skip

    def _without_network(self, job: Job) -> Prepared:
        prepared = self._prepared(job, replace(self._runtime, ranks=ALONE))
        prepared.start.release()
        return prepared


def _in_turn(
    waiting: Sequence[Prepared], carry_out: Callable[[Prepared], None], runtime: Runtime
) -> list[RunFailed | RunLocked]:
    """Carry out runs one after the other; those that another process is running are tried again at the end.

    Where several processes share each run, the first that fails is the last, and one that is locked is an error: the others wait for it.
    """
    device, note, ranks = runtime.device, runtime.observer.note, runtime.ranks
    failures: list[RunFailed | RunLocked] = []
    locked: list[Prepared] = []
    for prepared in waiting:
        try:
            carry_out(prepared)
        except RunLocked as error:
            if ranks.size > 1:
                raise
            locked.append(prepared)
            note(f"left for later: {error.problem}")
        except RunFailed as error:
            memory.let_go(error)
            failures.append(error)
            note(f"failed: {error.problem}")
            if ranks.size > 1:
                return failures
        memory.free(device)
    for prepared in locked:
        try:
            carry_out(prepared)
        except (RunFailed, RunLocked) as error:
            memory.let_go(error)
            failures.append(error)
        memory.free(device)
    return failures


def _batches(wanted: Sequence[Job]) -> dict[str, int]:
    """Return the batch size of every arm, by digest, of which a seed is there: all seeds of an arm have the same."""
    folders = {job.digest: job.folder for job in wanted if (job.folder / run_folder.RESOLVED).is_file()}
    known = {digest: run_folder.resolved(folder).get("batch_size") for digest, folder in folders.items()}
    return {digest: size for digest, size in known.items() if isinstance(size, int)}


_Rates = dict[
    tuple[str, int | None], Mapping[str, float]
]  # by digest and fold: a fold's test images are another's training images


def _rates(wanted: Sequence[Job]) -> _Rates:
    """Return the rates that a range test chose for a seed that is there: all seeds of an arm have the same."""
    found: _Rates = {}
    for job in wanted:
        if (job.folder / run_folder.RESOLVED).is_file():
            known = run_folder.resolved(job.folder).get("rates")
            if isinstance(known, dict) and known:
                found.setdefault((job.digest, job.fold), known)
    return found


class _Asking(Observer):
    """Passes on what preparing tells, and asks for a signal at every image.

    Args:
        observer: Receives the events.
        watch: Called; raises to stop.
    """

    def __init__(self, observer: Observer, watch: Callable[[], None]) -> None:
        self.note = observer.note  # type: ignore[method-assign]  # it is passed on as it is
        self._decoding = observer.decoding
        self._watch = watch

    def decoding(self, done: int, total: int) -> None:
        """Ask, then pass it on."""
        self._watch()
        self._decoding(done, total)

"""apply, plan, inspect, rates and epochs: what the command line does, as functions. Torch is imported only when something must be computed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit import applying, files, machine, units
from tlkit.applying import Applied
from tlkit.errors import TlkitError, UsageError, as_path, option, writable
from tlkit.events import Epoch, Observer
from tlkit.plans import arguments, auto_rates, executors, jobs
from tlkit.record import findings, remote_runs, remote_sending, run_folder

if TYPE_CHECKING:
    from tlkit.exports.export import Exported
    from tlkit.planning import Plans, Rates
    from tlkit.plans.plan import Plan
    from tlkit.record.advice import Advice
    from tlkit.record.findings import Findings
    from tlkit.run.remote_jobs import Elsewhere


def apply(
    recipe: str | Path,
    settings: str | Sequence[str] = (),
    *,
    arm: str | None = None,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    offline: bool = False,
    graph: bool = True,
    verify: bool = False,
    log: str | Sequence[str] = (),
    checkpoint_every: str | float = "5m",
    executor: str = "local",
    address: str = "",
    cpus_per_run: int = 1,
    gpus_per_run: float = 0.0,
    processes_per_run: int = 1,
    observer: Observer | None = None,
) -> Applied:
    """Make what a recipe says be there: train what is missing, continue what was interrupted, leave what is finished.

    Args:
        recipe: A TOML file.
        settings: "key=value", or several of them, as --set.
        arm: Only this arm.
        runs: Folder for run folders; or its address, "s3://bucket/runs", where they are kept while a copy is read and written here.
        data: Folder of the images.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.
        graph: Capture the training step, the fixed prefix and evaluations as CUDA graphs where the device can; what is not captured runs eagerly.
        verify: Hash data, weights and the files of finished runs again, whatever is remembered of them, and check every row of the
            store that is used.
        log: A logger, or several, beside those of the recipe: "tensorboard", "csv".
        checkpoint_every: The time after which a run is saved in the middle of an epoch: seconds, or "90s", "5m", "1h"; "off" for
            never. It is always saved after an epoch, and when a signal stops it.
        executor: Where runs are carried out: "local" is this process, "ray" a Ray cluster; other plugins have other names.
        address: Of the executor's cluster; "auto" for the one that this machine is a part of.
        cpus_per_run: Processors of a run that is carried out elsewhere, and its threads.
        gpus_per_run: GPUs of such a run.
        processes_per_run: Processes that share such a run, its processors and its GPUs, as those that torchrun starts do.
        observer: Receives the run's events.

    Raises:
        TlkitError: the recipe, its images or weights cannot be used. A run that fails is in the returned value instead.
        RankLost: torchrun started several processes, and another one ended.
        SaidElsewhere: torchrun started several processes, and the first one says what is wrong.
    """
    saved_every = math.inf if checkpoint_every == "off" else units.duration(checkpoint_every, name="checkpoint-every")
    machine.refuse_unknown_device(device)  # also where every run is finished
    kept = remote_runs.of(str(runs))
    folder = Path(runs) if kept is None else kept.folder
    chosen = executors.choose(executor, address=address, cpus=cpus_per_run, gpus=gpus_per_run, processes=processes_per_run)
    path, logs = as_path(recipe, "recipe"), (log,) if isinstance(log, str) else tuple(log)

    watcher = observer or Observer()

    def elsewhere() -> Elsewhere:
        from tlkit.run import remote_jobs, remote_worker

        assert chosen is not None  # else it is not called
        called = remote_worker.Call(
            str(path.absolute()), tuple(arguments.listed(settings)), str(folder.absolute()) if kept is None else kept.address,
            None if data is None else str(Path(data).absolute()), device, offline, graph, logs, saved_every,
        )  # fmt: skip
        return remote_jobs.Elsewhere(*chosen, called, watcher, kept)

    read = partial(
        applying.read, path, settings, arm=arm, runs=folder, data=data, offline=offline, verify=verify, log=logs, kept=kept
    )
    carry_out = partial(applying.carry_out, graph=graph, saved_every=saved_every, kept=kept)
    started = machine.started_together()
    if started is None:
        asked = read(watcher)
        with remote_sending.gathered(kept, asked.read.name, watcher.note):
            return carry_out(asked, watcher=watcher, device=device, elsewhere=None if chosen is None else elsewhere)
    if chosen is not None:
        raise TlkitError(
            f"{option('executor', executor)}: {started.size} processes were started together, and share each run.",
            "start it without torchrun, or leave the executor out",
        )
    from tlkit.run import joining

    with joining.joined(started) as ranks:
        watcher = watcher if ranks.rank == 0 else Observer()
        asked = joining.found_alike(ranks, partial(read, watcher), lambda found: joining.facts_of(found.wanted))
        name = joining.device_name(device, started, ranks)
        if ranks.rank == 0:
            with remote_sending.gathered(kept, asked.read.name, watcher.note):
                return carry_out(asked, watcher=watcher, device=name, ranks=ranks)
        return applying.follow(asked, device=name, graph=graph, ranks=ranks)


def report(runs: str | Path | Sequence[str | Path], out: str | Path = run_folder.REPORT) -> Path:
    """Write a page about finished runs: results, curves, kernels, what the networks see, and how to repeat them.

    Args:
        runs: Folders of runs, or of recipes: runs/NAME.
        out: The page, one HTML file.

    Raises:
        TlkitError: Plotly or Jinja2 is not installed, a folder is no run's, or the page cannot be written.
    """
    from tlkit.reports.page import page

    listed = [runs] if isinstance(runs, str | Path) else list(runs)
    path = as_path(out, "out")
    files.refuse_file(path, "out")
    with writable(path, f"another file: {option('out', 'FILE')}"):
        page.write(path, [as_path(each, "runs") for each in listed])
    return path


def export(
    run: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    quantize: str | None = None,
    arm: str | None = None,
    data: str | Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write a run's network as a file that other programs load, and a model card beside it.

    Args:
        run: A run's folder, or a recipe's: then its best run by validation.
        to: "onnx" and "torch-export" hold preprocessing, network and probabilities; "safetensors", "torchvision" and "timm" weights.
        out: The file; by default exported/RUN/FORM/model with the usual ending.
        quantize: "int8" brings an ONNX file to 8-bit integers, calibrated on the run's training images.
        arm: Choose only among the runs of this arm.
        data: Folder of these images, where the run was applied with one.
        note: Told which run was chosen and why, what int8 costs, and which licences forbid commercial use.

    Returns:
        The file and its model card.

    Raises:
        TlkitError: the run cannot be read or has no such form, a library is not installed, or the file cannot be written.
    """
    from tlkit.exports import export as exporting
    from tlkit.exports import forms
    from tlkit.record import run_choice
    from tlkit.run import torch_settings

    form = forms.form(to)
    if hasattr(run, "network"):
        raise TlkitError(f"export: is given {run!r}, not a folder.", f'model.save(FOLDER), then tlkit.export(FOLDER, "{to}")')
    chosen = run_choice.choose(as_path(run, "run"), arm)
    if chosen.why:
        note(f"{chosen.folder}: {chosen.why}")
    with torch_settings.usual():
        return exporting.export(
            chosen.folder,
            form,
            None if out is None else as_path(out, "out"),
            quantize=quantize,
            data=None if data is None else as_path(data, "data"),
            note=note,
        )


def inspect(
    source: str | Path,
    settings: str | Sequence[str] = (),
    *,
    arm: str | None = None,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    offline: bool = False,
    observer: Observer | None = None,
) -> Findings:
    """Inspect images without training: counts, sizes, files that cannot be decoded, duplicates, labels that look wrong, outliers.

    Near duplicates, labels and outliers are found by the embeddings of the recipe's own backbone; of a folder by those of the backbone
    that `tlkit init` proposes. Of a recipe the findings are kept in runs/<recipe>, where its report shows them.

    Args:
        source: A recipe, or a folder of images in classes.
        settings: "key=value", or several of them, as --set.
        arm: The arm whose backbone and data are taken; by default the first one with trained weights.
        runs: Folder for run folders.
        data: Folder of the images.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.
        observer: Receives the progress.

    Raises:
        TlkitError: the images cannot be used, or what is found cannot be kept.
    """
    from tlkit.advice import asking

    watcher, path = observer or Observer(), _there(source)
    of_folder = path.is_dir()
    places = arguments.places(path.resolve() if of_folder else path, data, offline, watcher)
    read, arms = asking.read(path, arguments.listed(settings), places)
    arguments.check_arm(arm, read)
    arguments.note_unused_data(data, arms, watcher)
    resolved = asking.source(path, read, arms, arm, places).resolved
    from tlkit.engine.runtime import Runtime  # which imports torch, as do these, as in `advise`
    from tlkit.run import data_inspection, executor, shared_pictures, torch_settings
    from tlkit.run.signals import watching

    where, folder = executor.device_of(device, note=watcher.note), Path(runs) / read.name
    if not of_folder:
        files.refuse_unwritable(folder)
    with torch_settings.applied(where), watching() as watch:
        job, why = data_inspection.job_of(resolved, seed=read.seeds[0], places=places, runs=Path(runs), where=str(source))
        runtime = Runtime(where, watcher, watch)
        prepared = shared_pictures.prepare(job, {}, runtime)
        found, thumbnails = data_inspection.inspect(prepared, runtime, embeds="always", note=why)
    if not of_folder:
        with files.writing_in(folder):
            findings.save(folder, found, thumbnails)
    return found


def advise(
    source: str | Path,
    settings: str | Sequence[str] = (),
    *,
    budget: str | float = "10m",
    backbones: str | None = None,
    download: str | float = 0.0,
    domain: str | Path | None = None,
    out: str | Path | None = None,
    tries: bool = True,
    scores: bool = False,
    arm: str | None = None,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    offline: bool = False,
    executor: str = "local",
    address: str = "",
    cpus_per_run: int = 1,
    gpus_per_run: float = 0.0,
    observer: Observer | None = None,
) -> Advice:
    """Say which network to take for images and what of it to train, by measuring, and write a recipe for it.

    What is computed of the images is stored, so that the same question is answered at once the next time. Test images are not opened.

    Args:
        source: A folder of images in classes, or a recipe.
        settings: "key=value", or several of them, as --set.
        budget: The time that it may take: seconds, or "90s", "10m", "1h".
        backbones: Networks to consider, "resnet18,timm:resnet34,vgg16=FILE"; by default all whose weights are on this machine.
        download: Weights of other networks that may be downloaded, bytes in all or "200MB": of those with the best ImageNet accuracy.
        domain: A folder with images of the same classes from another domain, the source. With it ways to use both are compared, and no way to
            train is tried.
        out: The recipe to write; an earlier one is replaced. By default NAME-advised.toml in the working folder.
        tries: Try ways to train, as short runs, in the time that is left.
        scores: Tell transferability scores of every network too: LogME, H-score, NLEEP, GBC, and LEEP where it can be had.
        arm: The arm whose data is taken; by default the first one with trained weights.
        runs: Folder for the runs that try ways to train.
        data: Folder of the images.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.
        executor: Where ways to train are tried, those of a round side by side: "local" is this process, one after the other.
        address: Of the executor's cluster, as for `apply`.
        cpus_per_run: Processors, and threads, of such a run.
        gpus_per_run: GPUs of such a run.
        observer: Receives the progress.

    Raises:
        TlkitError: the images cannot be used, there are no weights, or the budget is too small for one probe.
    """
    from tlkit.advice import asking
    from tlkit.advice import budget as budgets

    allowed = budgets.Budget(units.duration(budget, name="budget"))
    chosen = executors.choose(executor, address=address, cpus=cpus_per_run, gpus=gpus_per_run)
    if chosen is not None and (not tries or domain is not None):
        raise UsageError(
            f"{option('executor', executor)}: carries out runs that try ways to train, and nothing is tried.", "leave it out"
        )
    room = units.byte_count(download, name="download") if download else 0.0
    if room and (backbones is not None or offline):
        why = (
            "is forbidden by " + option("offline", True)
            if offline
            else "is for networks that " + option("backbones") + " does not name"
        )
        raise UsageError(f"{option('download', str(download))}: {why}.", "one of the two options")
    watcher, path = observer or Observer(), _there(source)
    places = arguments.places(path.resolve() if path.is_dir() else path, data, offline, watcher)
    read, arms = asking.read(path, arguments.listed(settings), places)
    arguments.check_arm(arm, read)
    written = Path(f"{path.resolve().stem or 'images'}-advised.toml") if out is None else as_path(out, "out")
    if written.exists() and path.is_file() and written.samefile(path):
        raise TlkitError(
            f"{option('out', str(written))}: is the recipe that is advised on, and would be replaced.", "another file"
        )
    files.refuse_file(written, "out")  # what it measures takes minutes
    other = None if domain is None else asking.domain(as_path(domain, "domain"), path, offline=offline, observer=watcher)
    from tlkit.advice import (
        advising,
        candidates,
        domain_advising,
    )  # which import torch, after what is wrong with the recipe is said
    from tlkit.engine.runtime import Runtime
    from tlkit.run import executor as devices
    from tlkit.run import remote_jobs, remote_worker, save_times, torch_settings
    from tlkit.run.signals import watching

    named = None if backbones is None else candidates.named(backbones)
    where = devices.device_of(device, note=watcher.note)
    asked = asking.source(path, read, arms, arm, places)
    place = None
    if chosen is not None:
        data = None if places.data is None else str(places.data.absolute())
        called = remote_worker.Call("", (), str(Path(runs).absolute()), data, device, offline, True, (), save_times.EVERY)
        place = remote_jobs.Elsewhere(*chosen, called, watcher)
    with torch_settings.applied(where), watching() as watch, nullcontext() if place is None else place.reached():
        runtime = Runtime(where, watcher, watch)
        if other is not None:
            return domain_advising.advise(asked, other, named, written, runtime, budget=allowed, scores=scores, download=room)
        return advising.advise(
            asked,
            named,
            written,
            runtime,
            budget=allowed,
            runs=Path(runs) if tries else None,
            scores=scores,
            download=room,
            place=place,
        )


def plan(
    recipe: str | Path,
    settings: str | Sequence[str] = (),
    *,
    arm: str | None = None,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    classes: int | None = None,
    device: str = "cpu",
    measure: bool = False,
    processes: int = 1,
    observer: Observer | None = None,
) -> Plans:
    """Return each arm's plan, for the recipe's first seed and its first fold; needs no weights, no images and no GPU, except to measure.

    Args:
        recipe: A TOML file.
        settings: "key=value", or several of them, as --set.
        arm: Only this arm.
        runs: Folder for run folders.
        data: Folder of the images, counted where it is there.
        classes: Assumed where there is nothing to count.
        device: Whose memory and speed count.
        measure: Try precisions and memory formats, again where that was done before; else what is remembered counts.
        processes: How many processes share a run.
        observer: Receives the run's events.

    Raises:
        TlkitError: the recipe cannot be used, several processes do not share it, or what is to be measured is not here.
    """
    from tlkit import planning

    return planning.plans(
        recipe, settings, observer or Observer(), arm=arm, runs=Path(runs), data=data, classes=classes, device=device, measure=measure,
        processes=processes,
    )  # fmt: skip


def rates(
    recipe: str | Path,
    settings: str | Sequence[str] = (),
    *,
    arm: str | None = None,
    each: bool = False,
    steps: int = auto_rates.STEPS,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    offline: bool = False,
    graph: bool = True,
    observer: Observer | None = None,
) -> Rates:
    """Test learning rates: take training steps at rising rates, and suggest rates by how the loss falls. No run is made.

    All groups of the optimizer move together and keep the ratios of their rates; where a recipe leaves rates to a range test, those
    groups move and the others keep still. The tests are kept in runs/<recipe>, in rates.json and rates.svg, and its report shows them.

    Args:
        recipe: A TOML file.
        settings: "key=value", or several of them, as --set.
        arm: Only this arm; by default all whose weights are trained by steps.
        each: Then move every group alone, while the others keep still.
        steps: Optimizer steps of one test, 20 to 2,000.
        runs: Folder for run folders; or its address, "s3://bucket/runs", where they are kept while a copy is read and written here.
        data: Folder of the images.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.
        graph: Capture the training step where the device can; else it is taken step by step.
        observer: Receives the progress.

    Raises:
        TlkitError: the recipe, its images or weights cannot be used, or no arm has a learning rate.
    """
    from tlkit import planning

    return planning.rates(
        recipe, settings, observer or Observer(), arm=arm, each=each, steps=steps, runs=Path(runs), data=data, device=device,
        offline=offline, graph=graph,
    )  # fmt: skip


def epochs(
    plan: Plan,
    *,
    seed: int = 0,
    fold: int | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    offline: bool = False,
    observer: Observer | None = None,
) -> Iterator[Epoch]:
    """Train a plan in memory, an epoch at a time; nothing is written.

    Args:
        plan: From `tlkit.plan`.
        seed: The run's seed.
        fold: The fold that is tested, 1 to the number of folds, where the recipe has [cross_validation]; by default the first.
        data: Folder of the images.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.
        observer: Receives the run's events.

    Raises:
        TlkitError: images or weights cannot be used.
        RunFailed: the loss is no longer a number.
    """
    _check_plan(plan)
    from tlkit.engine.runtime import Runtime
    from tlkit.run import executor, failures, planned_runs, range_tests, torch_settings

    watcher = observer or Observer()
    where = executor.device_of(device, note=watcher.note)
    places = arguments.places(Path(plan.folder) / "recipe", data, offline, watcher)
    known = jobs.folds_of(plan.folds)
    if fold is not None and fold not in known:
        raise TlkitError(
            f"fold: is {fold}; "
            + ("the recipe has no [cross_validation]." if plan.folds is None else f"there are {plan.folds}."),
            "leave it out" if plan.folds is None else f"1 to {plan.folds}",
        )
    tested = known[0] if fold is None else fold
    if fold is None and plan.folds is not None:
        watcher.note(f"epochs: fold {tested} of {plan.folds} is tested, and no other; fold=2 tests the second")
    with torch_settings.applied(where):
        runtime = Runtime(where, watcher)
        prepared = planned_runs.prepare_plan(plan, runtime, seed=seed, fold=tested, places=places)
        prepared, _ = range_tests.settled(prepared, runtime)
        learner = prepared.learner(runtime)
    with failures.memory_in_words(prepared, where):
        yield from torch_settings.applied_between(learner.epochs(), where)


def _there(source: str | Path) -> Path:
    """Return a recipe or a folder of images; a missing one that is not called like a recipe may be either."""
    path = as_path(source, "source")
    if path.suffix != ".toml" and not os.path.lexists(path):
        raise TlkitError(
            f"{path}: there is no such folder or recipe.", "a folder with the images of each class in a sub-folder of its name"
        )
    return path


def _check_plan(plan: object) -> None:
    from tlkit.plans.plan import Plan

    if isinstance(plan, Mapping):
        raise TlkitError(
            "epochs: is given the plans of a recipe, not one of them.", f"tlkit.epochs(plans[{next(iter(plan), 'main')!r}])"
        )
    if not isinstance(plan, Plan):
        raise TlkitError(
            f"epochs: is given {plan!r}, which is no plan.",
            'for plan in tlkit.plan("recipe.toml").values(): tlkit.epochs(plan)',
        )

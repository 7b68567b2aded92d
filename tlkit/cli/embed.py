"""Commands that compare images by what a network makes of them: embed, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit import files
from tlkit.cli import console, named, options
from tlkit.cli.options import (
    AddressOption,
    ArmOption,
    CpusOption,
    DataOption,
    DeviceOption,
    ExecutorOption,
    GpusOption,
    JsonOption,
    MaxPixelsOption,
    OfflineOption,
    RunArgument,
    RunsOption,
    copy_of,
)
from tlkit.errors import DataError, TlkitError, UsageError, nearest

if TYPE_CHECKING:
    from tlkit.model.embedding_jobs import Source
    from tlkit.plugin import Demand, Executor
    from tlkit.run.prediction import Predictor
    from tlkit.run.shard_embeddings import Embedded, Job


def embed(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|BACKBONE", help="A run's folder, a recipe's folder or name, or a backbone's name.")
    ],
    images: named.ImagesArgument,
    out: Annotated[
        Path,
        options.out("The file to write, x.npz or x.parquet; for shards a folder, with one parquet file a shard.", "FILE|DIR"),
    ],
    at: Annotated[
        str | None, typer.Option("--at", metavar="STAGE", help="Stage whose output is taken; by default the last.")
    ] = None,
    weights: Annotated[str, typer.Option("--weights", metavar="NAME", help="Weights of a backbone.")] = "imagenet",
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    max_pixels: MaxPixelsOption = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    part: Annotated[
        str, typer.Option("--part", metavar="K/N", help="Of shards, only the K-th of N parts: several machines take one each.")
    ] = "1/1",
    executor: ExecutorOption = "local",
    address: AddressOption = "",
    cpus_per_run: CpusOption = 1,
    gpus_per_run: GpusOption = 0.0,
) -> None:
    """Write the embeddings of images: the output of a stage, its mean over the image. What was computed once is read from the store.

    IMAGES may be a folder, a pattern or an address of tar shards or parquet files. Then --out is a folder, and shards whose file is there
    are left.
    """
    import numpy as np
    from numpy.typing import NDArray

    from tlkit.plans import executors
    from tlkit.record import embeddings

    wanted = _part(part)
    chosen = executors.choose(executor, address=address, cpus=cpus_per_run, gpus=gpus_per_run)
    shards = named.shards(images)
    if shards is not None and out.suffix:
        if not named.holds_images(images[0]):
            raise UsageError(f"{out}: is the name of a file, and embeddings of shards fill a folder.", f"--out {out.stem}")
        shards = None
    if shards is None:
        if not out.suffix:
            named.refuse_missing(images)
        if wanted != (1, 1):
            raise typer.BadParameter("--part is for shards, and these are single files")
        embeddings.check(out)
        files.refuse_file(out, "out")
        if chosen is not None:
            raise UsageError(
                f"--executor {executor}: embeds shards, and these are single files.",
                "tlkit shard FOLDER OUT makes shards of them",
            )
    predictor, source = _network(run, runs, arm, weights, device, offline=offline)
    predictor, source = predictor.limited(max_pixels), replace(source, max_pixels=max_pixels)
    if shards is not None:
        carry_out = _here if chosen is None else partial(_elsewhere, place=chosen, source=source)
        _shards(shards, out, predictor, at, wanted, carry_out)
        return
    from tlkit.run import stored_embeddings, torch_settings

    paths = named.image_files(images, bands=predictor.geometry.bands is not None, where="embed")
    rows: dict[int, NDArray[np.float32]] = {}
    failed: list[DataError] = []
    with torch_settings.applied(predictor.device), console.counting("embedding") as progress:
        found = stored_embeddings.StoredEmbeddings(predictor, at=at, note=console.say).of_files(paths)
        for place, each in enumerate(found):
            if isinstance(each, DataError):
                failed.append(each)
            else:
                rows[place] = each
            progress(place + 1, len(paths))
    if rows:
        embeddings.write(out, [files.shown(paths[place]) for place in rows], np.stack(list(rows.values())))
        console.line(f"{out}: written, {len(rows):,} of {len(paths):,} images, {len(next(iter(rows.values()))):,} features")
    console.tell_failed(failed, some_done=bool(rows))


# Embeds the shards of jobs, and yields what became of each.
CarryOut = Callable[[Sequence["Job"], "Predictor", str | None], Iterator["Embedded | TlkitError"]]


def _shards(place: str, out: Path, predictor: Predictor, at: str | None, part: tuple[int, int], carry_out: CarryOut) -> None:
    """Embed the images of shards, one file a shard; those that are there are left."""
    from tlkit.record import embeddings
    from tlkit.run import shard_embeddings

    embeddings.check(out / "x.parquet")
    failed: list[TlkitError] = []
    done = images = 0
    with console.counting("embedding") as progress:
        network = shard_embeddings.network_of(predictor, at)
        jobs = shard_embeddings.jobs(place, out, network, part=part)
        shard_embeddings.begin(out, network)
        waiting = [job for job in jobs if not job.is_done]
        failed += [error for job in jobs if job not in waiting for error in job.failed]
        if waiting:
            progress(0, len(waiting))
        for number, embedded in enumerate(carry_out(waiting, predictor, at) if waiting else ()):
            progress(number + 1, len(waiting))
            if isinstance(embedded, TlkitError):
                failed.append(embedded)
                continue
            done, images = done + 1, images + embedded.images
            failed += embedded.failed
    console.line(
        f"{out}: {done:,} of {len(jobs):,} shards embedded, {images:,} images; {len(jobs) - len(waiting):,} were there"
    )
    console.tell_failed(failed, some_done=done > 0 or len(waiting) < len(jobs))


def _here(jobs: Sequence[Job], predictor: Predictor, at: str | None) -> Iterator[Embedded | TlkitError]:
    """Embed shards in this process."""
    from tlkit.run import shard_embeddings, stored_embeddings, torch_settings

    with torch_settings.applied(predictor.device):
        found = stored_embeddings.StoredEmbeddings(predictor, at=at, note=console.say)
        for job in jobs:
            try:
                yield shard_embeddings.embed(job, found, progress=lambda _: None)
            except DataError as error:
                yield error


def _elsewhere(
    jobs: Sequence[Job], predictor: Predictor, at: str | None, *, place: tuple[Executor, Demand], source: Source
) -> Iterator[Embedded | TlkitError]:
    """Embed shards with an executor; what a signal stops is done when it is run again."""
    from tlkit.model import embedding_jobs
    from tlkit.run.signals import watching

    with watching() as watch:
        yield from embedding_jobs.embed(jobs, source, at, place=place, watch=watch)


def _part(text: str) -> tuple[int, int]:
    """Return which of how many parts of the shards: "3/100"."""
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise typer.BadParameter(f'--part: is "{text}"; K/N with 1 <= K <= N, such as 3/100')
    return int(first), int(second)


def _network(run: Path, runs: Path, arm: str | None, weights: str, device: str, *, offline: bool) -> tuple[Predictor, Source]:
    """Return the network of a run, or of a backbone that is named in its place, and where it comes from.

    Raises:
        TlkitError: it names neither.
    """
    from tlkit.model.embedding_jobs import Source
    from tlkit.plugin import Backbone, registry
    from tlkit.record import run_choice

    folder = run_choice.named(copy_of(run), runs)
    if not run_choice.holds_runs(folder):
        if registry.offers(Backbone, str(run)):
            source = Source(str(run), weights, device, offline)
            return source.load(console.say), source
        if not folder.exists():  # else loading says what is wrong with it
            raise TlkitError(
                f"{run}: is neither a run's folder nor a backbone.",
                "a run's folder, or a recipe's: runs/NAME",
                "tlkit list has the backbones",
                nearest(str(run), [each.name for each in registry.entries(Backbone)]),
            )
    chosen, predictor = named.load(run, runs, arm, device)
    return predictor, Source(str(chosen.absolute()), "", device, offline)


def neighbours(
    run: RunArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of training images.")] = 5,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show the training images that a run's network finds most like an image."""
    from tlkit.reports import tables
    from tlkit.run import neighbours, torch_settings
    from tlkit.sources.places import Places

    folder, predictor = named.load(run, runs, arm, device)
    places = Places(recipe=folder, data=data, offline=True, notify=console.say, settings=False)
    with torch_settings.applied(predictor.device), console.counting("embedding") as progress:
        found = neighbours.nearest(predictor, folder, image, count=top, places=places, progress=progress, note=console.say)
    if as_json:
        console.as_json({"format": 1, "image": files.shown(image), "neighbours": [asdict(each) for each in found]})
    else:
        console.show(tables.neighbours([(each.image, each.label, each.similarity) for each in found]))

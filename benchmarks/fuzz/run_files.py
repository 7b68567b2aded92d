"""Files of a run: its checkpoint, and the files that say what happened."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import tomli_w
import torch

from benchmarks.fuzz import mutations
from benchmarks.fuzz.trying import Attempt
from tlkit import api
from tlkit.engine.runtime import Runtime
from tlkit.plans import job_folders, jobs, resolve, seen_images
from tlkit.record import (
    epoch_lines,
    evaluations,
    predictions,
    report_data,
    results,
    run_choice,
    run_differences,
    run_folder,
    run_list,
)
from tlkit.reports.page import page, runs
from tlkit.run import loading, shared_pictures
from tlkit.run.checkpoint import Checkpoint
from tlkit.sources.places import Places

_RECIPE = """\
format = 1
name = "small"
backbone = { name = "lenet5", weights = "none" }
data = { name = "synthetic", batch_size = 16, options = { classes = 3, train = 48, test = 24, size = 32 } }
lr_groups = { backbone = 1e-2, head = 1e-2 }
schedule = { name = "constant", epochs = 1 }
"""
# Names of JSON and TOML files in a run's folder.
_TEXTS = ("result.json", "split.json", "plan.json", "evaluation.json", "metrics.jsonl", "resolved.toml", "recipe.toml")
_SEAL = b'{"__metadata__":{"sha256":"'
_PAGES = 199  # a page, which takes as long as fifty other readers, is written for one input of so many
_ARRAYS = ("predictions.npz", "report.npz")


def checkpoints(folder: Path) -> Attempt:
    """Return what continues a run from a wrong checkpoint."""
    job = _job(folder)
    runtime = Runtime(torch.device("cpu"))
    prepared = shared_pictures.prepare(job, {}, runtime)
    learner = prepared.learner(runtime)
    scores = next(iter(learner.epochs()))
    checkpoint = Checkpoint(prepared, learner)
    (job.folder / run_folder.CHECKPOINT).mkdir(parents=True)
    checkpoint.save(seconds=1.0, within=0.0, scores=None, lines=[])
    (state,) = run_folder.states(job.folder)
    from benchmarks.fuzz.tensors import header_of, with_header

    whole = state.read_bytes()
    header = json.loads(header_of(whole))
    inner = {key: value for key, value in header["__metadata__"].items() if key not in ("fixed", "sha256")}
    parsed = {key: json.loads(value) for key, value in inner.items()} | {"scores": {"epoch": scores.epoch}}

    def attempt(number: int, draw: Random) -> None:
        how = number % 3
        if how == 0:
            content = mutations.of_bytes(whole, draw)
        elif how == 1:
            content = with_header(whole, mutations.of_tables(header, draw, keys=list(header)[:40]))
        else:
            changed = mutations.of_tables(parsed, draw, keys=["epoch", "step", "train", "lines", "progress", "seconds"])
            texts = {key: json.dumps(value, default=str) for key, value in changed.items()}
            content = with_header(whole, header | {"__metadata__": header["__metadata__"] | texts})
        state.write_bytes(_sealed(content) if draw.random() < 0.9 else content)
        checkpoint.resume_(note=lambda text: None)

    return attempt


def _sealed(content: bytes) -> bytes:
    """Return a file with the checksum of what it holds now, so that it is read and not only noticed."""
    place = content.find(_SEAL) + len(_SEAL)
    if place < len(_SEAL):
        return content
    empty = content[:place] + b"0" * 64 + content[place + 64 :]
    return content[:place] + hashlib.sha256(empty).hexdigest().encode() + content[place + 64 :]


def records(folder: Path) -> Attempt:
    """Return what reads a run of which one file is wrong: as `runs`, `diff`, `report`, `predict` and a second `apply` do."""
    job = _job(folder)
    api.apply(folder / "small.toml", runs=folder / "runs")
    other = folder / "runs" / "small" / "other-s1-00000000"
    shutil.copytree(job.folder, other)
    _forget_hashes(other)
    texts = [(each, name) for each in (job.folder, other) for name in _TEXTS]
    texts += [(job.folder.parent, "result.json")]
    places = [*texts, *((each, name) for each in (job.folder, other) for name in _ARRAYS)]
    whole = {at: (at[0] / at[1]).read_bytes() for at in places if (at[0] / at[1]).is_file()}
    readers, report = _readers(job, other), partial(page.write, job.folder.parent / "report.html", [other])

    def attempt(number: int, draw: Random) -> None:
        at = list(whole)[number % len(whole)]
        path = at[0] / at[1]
        path.write_bytes(_changed(at[1], whole[at], draw))
        try:
            draw.choice(readers[at[1]])()
            if number % _PAGES == 0:
                report()
        finally:
            path.write_bytes(whole[at])

    return attempt


def _readers(job: jobs.Job, other: Path) -> dict[str, list[Callable[[], object]]]:
    """Return what reads each file, by its name."""
    recipe = job.folder.parent

    def done() -> None:
        result = job.result()
        if result is not None:
            job_folders.is_done(job, result, hashes=True)

    def different() -> None:
        run_differences.differences(job.folder, other)

    def load() -> None:
        loading.load(other, arm=None, device=torch.device("cpu"))

    return {
        "result.json": [
            done,
            different,
            lambda: run_folder.read(other),
            lambda: run_list.below(recipe),
            lambda: run_choice.choose(recipe),
            lambda: run_choice.choose(other),
            lambda: results.read(recipe),
            lambda: results.refuse_other_recipe(recipe, file="small.toml", folders=[job.folder]),
        ],
        "split.json": [done, lambda: list(seen_images.trained_files(other))],
        "plan.json": [different, lambda: runs.read([other])],
        "evaluation.json": [lambda: evaluations.load(other, "test")],
        "metrics.jsonl": [lambda: epoch_lines.read(other), lambda: run_list.below(recipe)],
        "resolved.toml": [lambda: run_folder.convention(other), lambda: run_folder.earlier_choices(other), different, load],
        "recipe.toml": [lambda: run_folder.length(other), different, lambda: run_list.below(recipe), load],
        "predictions.npz": [lambda: predictions.load(other)],
        "report.npz": [lambda: report_data.load(other)],
    }


def _changed(name: str, content: bytes, draw: Random) -> bytes:
    if draw.random() < 0.4 or name.endswith(".npz"):
        return mutations.of_bytes(content, draw)
    keys = ("format", "arms", "seed", "test", "train", "files", "classes", "digest", "status")
    if name.endswith(".toml"):
        tables = mutations.of_tables(tomllib.loads(content.decode()), draw, keys=keys)
        try:
            return tomli_w.dumps(tables).encode(errors="surrogatepass")
        except TypeError:
            return b"x = "
    return json.dumps(mutations.of_tables(json.loads(content), draw, keys=keys), default=str).encode()


def _forget_hashes(folder: Path) -> None:
    """Let a run be one that holds no hashes of its files, so that wrong files are read and not only noticed."""
    result = run_folder.read(folder)
    assert result is not None
    run_folder.write(folder, result.model_copy(update={"files": {}}))


def _job(folder: Path) -> jobs.Job:
    path = folder / "small.toml"
    path.write_text(_RECIPE)
    places = Places(recipe=folder)
    read, arms = resolve.load(path, (), places)
    (job,) = jobs.plan_jobs(read, arms, places, runs=folder / "runs", where=str(path))
    return job

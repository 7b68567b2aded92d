"""Embed the images of shards: one job a shard, one parquet file a shard, and what is there is not done again.

The rule: a file is renamed into place when it is whole, so any number of processes may do the same jobs, and one that was killed is run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from tlkit import files, plugin
from tlkit.engine import row_keys
from tlkit.errors import DataError, TlkitError
from tlkit.plugin import Member
from tlkit.record import embeddings
from tlkit.run.prediction import Predictor
from tlkit.run.stored_embeddings import Embedding, StoredEmbeddings

ABOUT = "embeddings.json"  # in the folder: which network they are of
_STATE, _CONTENT = "state", "digest"  # in a file's metadata: of the shard that it was made of
_FAILED = "failed"  # in a file's metadata: why each image that it lacks could not be decoded
_BLOCK = 1024  # images of a shard in memory at a time
_SHARDS, _IMAGES, _DIGEST = (f"tlkit_shards.contents:{name}" for name in ("shards_of", "images_of", "digest_of"))
_OF_IMAGES = "tlkit_shards.index:digest"
_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar", ".tgz", ".parquet")  # the longer one first


@dataclass(frozen=True)
class Job:
    """One shard to embed.

    Attributes:
        shard: Its path or address.
        state: Its size and time, and behind an address its ETag.
        out: The file to write.
        network: What embeddings are of, as `begin` says it.
    """

    shard: str
    state: str
    out: Path
    network: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether the file is there, and is of this network and of the images that the shard holds now.

        Where the shard has the size and time that it had, it is not read; else its digest decides.
        """
        known = embeddings.source(self.out) if self.out.is_file() else {}
        if not self.source.items() <= known.items():
            return False
        if known.get(_STATE) == self.state:
            return True
        if str(known.get(_STATE)).partition(" ")[0] != self.state.partition(" ")[0]:  # another size
            return False
        with suppress(DataError):  # that embedding says
            return bool(known.get(_CONTENT) == plugin.call(_DIGEST, self.shard))
        return False

    @property
    def failed(self) -> tuple[DataError, ...]:
        """Why images are missing in the file that is there."""
        said = embeddings.source(self.out).get(_FAILED, [])
        return tuple(DataError(each, f"remove {self.out} to have the shard embedded again") for each in said)

    @property
    def source(self) -> dict[str, Any]:
        """What the file says that it is of, beside the state and the digest of the shard."""
        return {"shard": os.path.basename(self.shard), "network": dict(self.network)}


@dataclass(frozen=True)
class Embedded:
    """What a job did.

    Attributes:
        images: That were embedded.
        failed: Why each of the others could not be decoded.
    """

    images: int
    failed: tuple[DataError, ...]


def jobs(place: str, out: Path, network: Mapping[str, object], *, part: tuple[int, int] = (1, 1)) -> list[Job]:
    """Return a job for each shard.

    Args:
        place: A folder of shards, a pattern, or an address.
        out: The folder of the parquet files.
        network: What embeddings are of: `network_of`.
        part: Which of how many parts of the shards, from 1: several machines take one each.

    Raises:
        DataMissing: there are no shards.
        TlkitError: two shards have one name.
    """
    found = cast(list[tuple[str, str]], plugin.call(_SHARDS, place))
    made: dict[str, Job] = {}
    for shard, state in found:
        name = f"{_stem(shard)}.parquet"
        if name in made:
            raise TlkitError(
                f"{shard}: has the name of {made[name].shard}, and both would be written to {out / name}.",
                "another --out for each",
            )
        made[name] = Job(shard, state, out / name, network)
    return list(made.values())[part[0] - 1 :: part[1]]


def begin(out: Path, network: Mapping[str, object]) -> None:
    """Make the folder, and say in it which network it is of.

    Raises:
        TlkitError: it cannot be written, or holds embeddings of another network or stage.
    """
    about, path = dict(network), out / ABOUT
    try:
        files.make_folder(out)
        if path.is_file():
            if json.loads(path.read_text(encoding="utf-8")) != about:
                raise TlkitError(
                    f"{out}: holds embeddings of another network, stage or input size.", "another folder: --out DIR"
                )
            return
        files.replace(path, json.dumps(about, indent=2) + "\n")
    except (OSError, ValueError) as error:
        raise TlkitError(f"{path}: cannot be read or written: {error}.", "another folder: --out DIR") from error


def embed(job: Job, found: StoredEmbeddings, *, progress: Callable[[int], None]) -> Embedded:
    """Embed the images of one shard, and write its file.

    Args:
        job: The shard.
        found: The network.
        progress: Called with the images done.

    Raises:
        DataError: the shard cannot be read; nothing was written.
        TlkitError: the file cannot be written.
    """
    content: list[tuple[str, bytes]] = []
    names: list[str] = []
    rows: list[Embedding] = []
    failed: list[DataError] = []
    members = cast(Iterator[Member], plugin.call(_IMAGES, job.shard))
    while block := list(islice(members, _BLOCK)):
        content += ((member.name.removeprefix(f"{job.shard}/"), member.digest) for member in block)
        for member, row in zip(block, found.computed(block), strict=True):
            if isinstance(row, DataError):
                failed.append(row)
            else:
                names.append(member.name)
                rows.append(row)
        progress(len(names) + len(failed))
    if not rows and failed:
        raise DataError(f"{job.shard}: none of its {len(failed):,} images can be decoded.", str(failed[0]))
    stacked = np.stack(rows) if rows else np.empty((0, found.features), np.float32)
    lacking = {_FAILED: [each.problem for each in failed]} if failed else {}
    about = {_STATE: job.state, _CONTENT: plugin.call(_OF_IMAGES, content)}
    embeddings.write(job.out, names, stacked, source=job.source | about | lacking)
    return Embedded(len(rows), tuple(failed))


def network_of(predictor: Predictor, at: str | None) -> dict[str, object]:
    """Return what embeddings are of, the same on every machine: weights, stage, and how images are prepared."""
    stages = list(predictor.network.stages)
    named = (
        (f"{stage} {name}", tensor)
        for stage in stages[: len(stages) if at is None else 1 + stages.index(at)]
        for name, tensor in sorted(predictor.network.stages[stage].state_dict().items())
    )
    return {
        "format": 2, "weights": row_keys.weights(named), "stage": at or stages[-1], "input": repr(predictor.convention),
        "geometry": repr(predictor.geometry),
    }  # fmt: skip


def _stem(shard: str) -> str:
    name = os.path.basename(shard)
    return next((name[: -len(ending)] for ending in _ENDINGS if name.lower().endswith(ending)), name)

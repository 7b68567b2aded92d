"""Embeddings of a network for images: read from the store where they are, else computed and kept there.

The rule: read or computed, an embedding has the same bits. So the network runs in chunks of one size, the last one padded, in float32.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine import evaluate, row_keys, transfer
from tlkit.engine.evaluate import evaluating
from tlkit.engine.images import device_batches
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Progress
from tlkit.engine.prefix.prefix import Prefix
from tlkit.errors import DataError, StoreError
from tlkit.network.network import Network, pool
from tlkit.plugin import ImageFile, Member, members
from tlkit.record.formats import PrefixPlan, chunk_on
from tlkit.run.prediction import Predictor
from tlkit.store import row_store, segments
from tlkit.store.row_writer import Writer
from tlkit.store.segments import Keys
from tlkit.store.usage import Kind

_CHUNK = 16  # images at a time on a CPU, always; few, since one image alone takes as long
Embedding = NDArray[np.float32]


class StoredEmbeddings:
    """The pooled output (C,) of a network's stage for images.

    Rows that training stored are not read: they are of a network whose BatchNorm is folded, in the precision that was fastest.

    Args:
        predictor: The network and its preprocessing; not changed as long as this lives.
        at: The stage; None for the last.
        note: Told why embeddings are not kept.

    Raises:
        TlkitError: there is no such stage.
    """

    def __init__(self, predictor: Predictor, *, at: str | None = None, note: Callable[[str], None]) -> None:
        predictor.check_stage(at)
        network, geometry = predictor.network, predictor.geometry
        stages = list(network.stages)
        self._stop = len(stages) if at is None else 1 + stages.index(at)
        where = predictor.device.type
        chunk = _CHUNK if where == "cpu" else chunk_on(where, math.prod(geometry.size))
        plan = PrefixPlan(folded=False, chunk=chunk)  # the network as it is, in float32
        self._predictor, self._note = replace(predictor, batch_size=plan.chunk), note
        self._prefix = Prefix(list(network.stages.values())[: self._stop], pools=False, plan=plan)
        fixed = torch.randn(1, geometry.shape[2], *geometry.size, generator=torch.Generator().manual_seed(0))
        seen = evaluate.embeddings(network, fixed.to(predictor.device), at=at).float().cpu().numpy()
        origin = row_keys.prefix(
            network, self._stop, plan, backbone="", build="", options={}, device=predictor.device
        ) | row_keys.inputs(geometry, predictor.convention)
        origin |= {"pooled": True, "fingerprint": hashlib.sha256(seen.tobytes()).hexdigest()}
        self.features = int(seen.shape[1])
        self._entry = row_store.open_(Kind.FEATURES, origin, shape=seen.shape[1:], dtype="float32", note=note)

    def computed(self, images: Sequence[ImageFile]) -> Iterator[Embedding | DataError]:
        """Yield the embedding of each file, or why it cannot be decoded; nothing is read from the store or kept there."""
        yield from self._predictor.each_file(images, self._answer)

    def of_files(self, images: Sequence[ImageFile]) -> Iterator[Embedding | DataError]:
        """Yield the embedding of each file, or why it cannot be decoded."""
        keys, keyed = _keys(images)
        absent = ~keyed | self._entry.missing(keys)
        located, at = self._entry.locate(keys[~absent]), 0
        places = np.flatnonzero(absent).tolist()
        digests = [keys[place].tobytes() if keyed[place] else None for place in places]
        computed = self._predictor.each_file([images[place] for place in places], self._answer, digests=digests)
        with self._keeping(int(keyed[absent].sum())) as keep:
            for place, new in enumerate(absent.tolist()):
                if not new:
                    (row,) = located.gather(np.array([at]))
                    yield row
                    at += 1
                    continue
                found = next(computed)
                if keyed[place] and not isinstance(found, DataError):
                    keep(keys[place : place + 1], found[None])
                yield found

    def of_part(self, part: Part, *, progress: Progress) -> Embedding:
        """Return the embeddings (n, C) of a part's images.

        Args:
            part: Not augmented.
            progress: Called with the images that are embedded and their total.
        """
        keys = part.pictures.keys(part.indices)
        absent = self._entry.missing(keys)
        located, at = self._entry.locate(keys[~absent]), 0
        places = np.flatnonzero(absent)
        rows = np.empty((len(keys), *located.shape), np.float32)
        rows[~absent] = located.gather(np.arange(len(located)))
        with self._keeping(len(places)) as keep:
            batches = device_batches.inputs(part, part.indices[places], 0, self._predictor.device, self._predictor.batch_size)
            answers = (self._answer(self._predictor.network, x.contiguous()) for x in batches)
            for found in transfer.to_host(answers, self._predictor.device):
                mine = places[at : at + len(found)]
                rows[mine] = found.numpy()
                keep(keys[mine], rows[mine])
                at += len(found)
                progress(at, len(places))
        return rows

    def _answer(self, network: Network, x: Tensor) -> Tensor:
        with evaluating(network):
            return pool(self._prefix(x).float())

    @contextlib.contextmanager
    def _keeping(self, count: int) -> Iterator[Callable[[Keys, Embedding], None]]:
        """Give a function that stores rows, `count` in all; where they cannot be kept, it says so once and does nothing."""
        writer = self._writer(count)

        def keep(keys: Keys, rows: Embedding) -> None:
            nonlocal writer
            if writer is not None:
                try:
                    writer.write(keys, rows)
                except StoreError as error:
                    writer = None
                    self._say(error)

        try:
            with writer or contextlib.nullcontext():
                yield keep
        except StoreError as error:
            self._say(error)

    def _writer(self, count: int) -> Writer | None:
        try:
            return self._entry.writer(count) if count else None
        except StoreError as error:
            self._say(error)
            return None

    def _say(self, error: StoreError) -> None:
        self._note(error.note("embeddings are computed again next time"))


def _keys(images: Sequence[ImageFile]) -> tuple[Keys, NDArray[np.bool_]]:
    """Return the digests (n, 16) of files, and which of them can be read (n,)."""
    keyed = np.array([isinstance(image, Member) or (image.is_file() and os.access(image, os.R_OK)) for image in images], bool)
    keys = np.zeros((len(images), segments.KEY), np.uint8)
    try:
        digests = members.digests(image for image, can in zip(images, keyed.tolist(), strict=True) if can)
    except DataError:  # which one it is, decoding says
        return keys, np.zeros(len(images), bool)
    keys[keyed] = np.frombuffer(b"".join(each[: segments.KEY] for each in digests), np.uint8).reshape(-1, segments.KEY)
    return keys, keyed

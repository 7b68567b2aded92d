"""Decode the pictures of a split once into the store where they fit, else again at every use.

The rule: whichever way a picture comes, its bytes are the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit import machine
from tlkit.engine import row_keys, transfer
from tlkit.engine.images import decode, extents, originals, pillow_warnings
from tlkit.engine.images.geometry import Geometry, Pixels, fitted
from tlkit.engine.images.originals import ORIGINAL, Originals
from tlkit.engine.images.residency import Residency
from tlkit.errors import ImageError, StoreError
from tlkit.plugin import Split, Subset, members
from tlkit.sources import mask_files
from tlkit.store import row_store, segments
from tlkit.store.segments import Keys, Located
from tlkit.store.usage import Kind

Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]  # images done, images in all
Note = Callable[[str], None]
_CPU = torch.device("cpu")
_CHUNK = 256  # images handed to the threads at a time; a signal waits for no more
_BLOCK_BYTES = 64 << 20  # of decoded pictures that wait to be written


class Pictures:
    """The decoded pictures of one split, all brought to one size.

    They are decoded once into the store where they fit, else again at every use. Arrays that have the size are used as they are.

    Args:
        split: Image files or pixels.
        geometry: How every picture is brought to size.
        note: Called with a message if the store cannot be used.
        keep: Whether the store may be used.
        verify: Check what is stored and hash files again, whatever their times say.
        residency: Decides what stays on a device; by default there is nothing else.
    """

    def __init__(
        self, split: Split, geometry: Geometry, *, note: Note = lambda _: None, keep: bool = True, verify: bool = False,
        residency: Residency | None = None,
    ) -> None:  # fmt: skip
        self.split = split
        self.geometry = geometry
        self.note, self.keep, self.verify = note, keep, verify
        self.residency = Residency() if residency is None else residency
        self._decodable = np.zeros(len(split.targets), dtype=bool)
        self._keys = np.zeros((len(split.targets), segments.KEY), dtype=np.uint8)
        self._keyed = np.zeros(len(split.targets), dtype=bool)
        self._row = np.full(len(split.targets), -1, dtype=np.int64)  # in _stored; -1 where the store has it not
        self._stored: Located | None = None
        self._resident: tuple[torch.device, Tensor] | None = None  # a device as it was named, "cuda", and pictures there
        self._place = np.full(len(split.targets), -1, dtype=np.int64)  # in `resident`; -1 where it is not there
        self._originals = np.zeros(len(split.targets), dtype=ORIGINAL)
        self._described = np.zeros(len(split.targets), dtype=bool)

    def prepare(self, indices: Indices, *, progress: Progress) -> dict[int, ImageError]:
        """Decode in parallel the images that were not decoded before; return the errors of those that cannot be, by position."""
        wanted = indices[~self._decodable[indices]]
        wanted = wanted if self.split.storage is None else self.split.storage.sequence(wanted)
        corrupt: dict[int, ImageError] = {}
        if not self._ready_made() and len(wanted):
            with pillow_warnings.reported(self.note):
                corrupt = self._decode(wanted, progress)
        self._decodable[wanted] = True
        self._decodable[list(corrupt)] = False
        self._keyed[list(corrupt)] = self._described[list(corrupt)] = False  # a file that is mended has others
        return corrupt

    def get(self, indices: Indices, device: torch.device = _CPU) -> Tensor:
        """Return (n, height, width, 3) uint8, or of bands (n, height, width, bands): uint8, else float32, of which uint16 is a part."""
        if self.on(indices, device):
            return self.resident.index_select(0, transfer.upload(self.places(indices), device))
        if self._ready_made() and self.split.pixels is not None:
            return transfer.upload(as_tensor(self.split.pixels[indices]), device)
        rows = self._row[indices]
        out = np.empty((len(indices), *self.geometry.shape), dtype=self.geometry.values)
        here = rows >= 0
        if self._stored is not None and here.any():
            out[here] = self._stored.gather(rows[here])
        if not here.all():
            with (
                pillow_warnings.reported(lambda _: None),
                ThreadPoolExecutor(machine.processors()) as pool,
            ):  # said when prepared
                for at, picture in zip(np.flatnonzero(~here), pool.map(self._one, indices[~here].tolist()), strict=True):
                    out[at] = picture
        return transfer.upload(as_tensor(out), device)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the tensors that `get` returns."""
        return torch.uint8 if self.geometry.values == "uint8" else torch.float32

    def keys(self, indices: Indices) -> Keys:
        """Return a digest (n, 16) of the content of each image's file or pixels."""
        new = indices[~self._keyed[indices]]
        if len(new):
            short = b"".join(digest[: segments.KEY] for digest in self._digests(new))
            self._keys[new] = np.frombuffer(short, dtype=np.uint8).reshape(len(new), segments.KEY)
            self._keyed[new] = True
        return self._keys[indices]

    def originals(self, indices: Indices) -> Originals:
        """Return what is known of images, which `prepare` was called for, before they were brought to size: (n,)."""
        new = indices[~self._described[indices]]
        if self.split.pixels is not None and len(new):
            self._originals["digest"][new] = self.keys(new)  # which are digests of their pixels
            sizes = np.array([self.split.pixels[index].shape[:2] for index in new.tolist()])  # in memory each may have its own
            self._originals["height"][new], self._originals["width"][new] = sizes.T
            self._described[new] = True
        assert self._described[indices].all()
        return self._originals[indices]

    @property
    def resident(self) -> Tensor:
        """The pictures on a device, (m, height, width, channels) as `get` returns them, after `settle_`."""
        assert self._resident is not None
        return self._resident[1]

    def places(self, indices: Indices) -> Indices:
        """Return where in `resident` images are, after `settle_`."""
        return self._place[indices]

    def settle_(self, indices: Indices, device: torch.device, *, beside: int = 0) -> bool:
        """Keep pictures on a device if there is room; return whether they are there. They stay until others need the room.

        Args:
            indices: Which, beside those that are there already.
            device: Where.
            beside: Bytes that training needs there beside all pictures.
        """
        if self._resident is not None and self._resident[0] != device:
            self.leave_()
        missing = np.unique(indices[self._place[indices] < 0])
        if not len(missing):
            self.residency.used(self)
            return True
        before = 0 if self._resident is None else len(self._resident[1])
        if not self.residency.admit(
            self, (before + len(missing)) * math.prod(self.geometry.shape) * self.dtype.itemsize, device, beside=beside
        ):
            return False
        try:
            resident = torch.empty(before + len(missing), *self.geometry.shape, dtype=self.dtype, device=device)
        except torch.OutOfMemoryError:
            return False
        if self._resident is not None:
            resident[:before] = self._resident[1]
        chunks = [missing[at : at + _CHUNK] for at in range(0, len(missing), _CHUNK)]
        shape, at = tuple(resident.shape[1:]), before
        for rows in transfer.ahead(
            self.fetch, chunks, rows=_CHUNK, shape=shape, dtype=self.dtype, copier=transfer.copier(device)
        ):
            resident[at : at + len(rows)] = rows
            at += len(rows)
        self._place[missing] = before + np.arange(len(missing))
        self._resident = device, resident
        return True

    @property
    def resident_bytes(self) -> int:
        """Bytes on a device."""
        return 0 if self._resident is None else self._resident[1].nbytes

    def leave_(self) -> None:
        """Give the memory of a device back."""
        self._place[:] = -1
        self._resident = None

    def fetch(self, indices: Indices, out: Tensor) -> None:
        """Read pictures into memory of the host, (n, height, width, channels) as `get` returns them."""
        rows = self._row[indices]
        if self._stored is not None and (rows >= 0).all() and self.geometry.values != "uint16":
            self._stored.gather(rows, out=out.numpy())
        else:
            out.copy_(self.get(indices))

    def on(self, indices: Indices, device: torch.device) -> bool:
        """Return whether images are in `resident`, on a device."""
        return self._resident is not None and self._resident[0] == device and bool((self._place[indices] >= 0).all())

    def _digests(self, indices: Indices) -> Iterable[bytes]:
        """Yield a digest of the content of each image's file or pixels, and of the mask that says how it is scaled."""
        pixels = self.split.pixels
        if pixels is None:
            found = members.digests(Subset(self.split.files, indices), again=self.verify)
        else:
            found = (originals.digest_of(pixels[index]) for index in indices.tolist())
        for index, digest in zip(indices.tolist(), found, strict=True):
            view = self._mask_of_view(index)
            yield digest if view is None else sha256(digest + mask_files.content_digest(view)).digest()

    def _mask_of_view(self, index: int) -> Path | None:
        return None if self.geometry.field_of_view is None else extents.mask_of_view(self.split, index)

    def _ready_made(self) -> bool:
        """Whether the split's own arrays are pictures of this geometry already."""
        pixels = self.split.pixels
        whole = self.geometry.shrink is None and self.geometry.scale == 1 and self.geometry.field_of_view is None
        return whole and pixels is not None and pixels.shape[1:3] == self.geometry.size == self.geometry.resized

    def _decode(self, wanted: Indices, progress: Progress) -> dict[int, ImageError]:
        """Decode into the store; without a store, decode only to find the images that cannot be decoded."""
        entry = self._entry() if self.keep else None
        known = originals.entry(self.geometry, note=self.note, verify=self.verify) if self.keep and self._of_files else None
        absent = wanted
        if entry is not None:
            absent = wanted[entry.missing(self.keys(wanted)) | self._missing(known, wanted)]
        corrupt: dict[int, ImageError] = {}
        blocks = self._blocks(absent, corrupt, progress)
        try:
            if entry is None:
                raise StoreError("")
            new = absent[entry.missing(self.keys(absent))]
            if len(new):
                with entry.writer(len(new)) as writer:
                    for indices, rows in blocks:
                        mine = np.isin(indices, new)
                        if mine.any():
                            writer.write(self.keys(indices[mine]), rows[mine])
        except StoreError as error:
            if error.problem:
                self.note(error.note("pictures are decoded again every epoch"))
        for _ in blocks:
            pass
        if entry is not None:
            self._find(entry, wanted)
        if known is not None:
            self._keep_originals(known, absent)
        return corrupt

    @property
    def _of_files(self) -> bool:
        return self.split.pixels is None

    def _missing(self, known: row_store.Entry | None, wanted: Indices) -> NDArray[np.bool_]:
        """Return which images are not described in the store; read the descriptions of the others."""
        if known is None:
            return np.zeros(len(wanted), bool)
        missing = known.missing(self.keys(wanted))
        here = wanted[~missing]
        self._originals[here] = known.gather(self.keys(here)).view(ORIGINAL).reshape(-1)
        self._described[here] = True
        return missing

    def _keep_originals(self, known: row_store.Entry, decoded: Indices) -> None:
        """Store the descriptions of images that were decoded now."""
        new = decoded[self._described[decoded]]
        new = new[known.missing(self.keys(new))]
        if len(new):
            with contextlib.suppress(StoreError):  # said of the pictures
                known.append(self.keys(new), [self._originals[new].view(np.uint8).reshape(len(new), -1)])

    def _entry(self) -> row_store.Entry:
        origin, shape, dtype = row_keys.pictures(self.geometry), self.geometry.shape, self.geometry.values
        return row_store.open_(Kind.PICTURES, origin, shape=shape, dtype=dtype, note=self.note, verify=self.verify)

    def _find(self, entry: row_store.Entry, wanted: Indices) -> None:
        """Remember where the store keeps these images and those of earlier calls."""
        known = np.union1d(np.flatnonzero(self._row >= 0), wanted)
        stored = known[~entry.missing(self.keys(known))]
        self._stored = entry.locate(self.keys(stored))
        self._row[known] = -1
        self._row[stored] = np.arange(len(stored))

    def _blocks(self, wanted: Indices, corrupt: dict[int, ImageError], progress: Progress) -> Iterator[tuple[Indices, Pixels]]:
        """Decode in parallel; yield positions and pixels, and add the errors to `corrupt`."""
        size = int(np.clip(_BLOCK_BYTES // self.geometry.bytes, 8, _CHUNK))
        done = 0
        with ThreadPoolExecutor(machine.processors()) as pool:
            for start in range(0, len(wanted), size):
                decoded: list[tuple[int, Pixels]] = []
                block = wanted[start : start + size].tolist()
                for index, outcome in zip(block, pool.map(self._try, block), strict=True):
                    if isinstance(outcome, ImageError):
                        corrupt[index] = outcome
                    else:
                        decoded.append((index, outcome))
                    done += 1
                    progress(done, len(wanted))
                if decoded:
                    yield np.array([index for index, _ in decoded]), np.stack([rows for _, rows in decoded])

    def _one(self, index: int) -> Pixels:
        """Decode one image, and describe it where it is not known; refuse a file that changed since its key was computed."""
        pixels = self.split.pixels
        source = self.split.files[index] if pixels is None else pixels[index]
        content = pixels is None and self._keyed[index] and self._mask_of_view(index) is None  # else the key is of more
        digest = self._keys[index].tobytes() if content else None
        try:
            image = decode.whole(source, self.geometry, digest=digest)
            if pixels is None and not self._described[index]:
                self._originals[index] = np.frombuffer(originals.original(image), ORIGINAL)[0]
                self._described[index] = True
            return fitted(image, extents.settled(self.split, index, self.geometry, image))
        except MemoryError as error:
            name = f"image {index}" if isinstance(source, np.ndarray) else source
            raise ImageError(f"{name}: does not fit into memory.", "make the image smaller") from error

    def _try(self, index: int) -> Pixels | ImageError:
        try:
            return self._one(index)
        except ImageError as error:
            return error


def as_tensor(pixels: Pixels) -> Tensor:
    """Return pixels as a tensor; uint16, of which torch has few operations, as float32, which holds every value of it."""
    return torch.from_numpy(pixels.astype(np.float32) if pixels.dtype == np.uint16 else pixels)

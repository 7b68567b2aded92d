"""TensorBoard's event files of a run: metrics per epoch, the first kernels, and the map of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from tlkit.plugin import LoggedEnd, LoggedRun
from tlkit_loggers import TensorBoardOptions

_LARGER = 8  # pixels of the picture for each value of a kernel; 7 x 7 pixels cannot be seen


def open_(run: LoggedRun, options: TensorBoardOptions) -> TensorBoardFiles:
    """Begin the event files of a run. What an earlier process wrote is replaced in TensorBoard's charts."""
    folder = run.folder / "tensorboard" if options.folder is None else Path(options.folder) / run.recipe / run.folder.name
    files = TensorBoardFiles(SummaryWriter(str(folder), purge_step=0))
    for values in run.before:
        files.epoch(values)
    return files


class TensorBoardFiles:
    """The event files of one run.

    Args:
        writer: TensorBoard's.
    """

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def epoch(self, values: Mapping[str, float]) -> None:
        """Write the values of an epoch."""
        for name, value in values.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(values["epoch"]))
        self._writer.flush()

    def end(self, end: LoggedEnd) -> None:
        """Write the kernels before training, of the last and of the best epoch, and the map; then close the files."""
        times = {"before": 0, "last": int(end.about.get("last", 0)), "best": int(end.about.get("epoch", 0))}
        for place, about in enumerate(end.about.get("kernels", ())):
            kernels = {when: end.arrays[f"kernel{place}_{when}"] for when in times}
            largest = max(float(np.abs(each).max()) for each in kernels.values()) or 1.0
            for when, each in kernels.items():
                self._writer.add_images(
                    f"kernels/{about['name']}/{when}", shown(each, largest), times[when], dataformats="NHWC"
                )
        if "map_points" in end.arrays:
            self._add_map(end.about["map"], end.arrays["map_points"], times["best"])
        self._writer.close()

    def _add_map(self, about: Mapping[str, Any], points: NDArray[Any], epoch: int) -> None:
        rows = [list(pair) for pair in zip(about["labels"], about["said"], strict=True)]
        self._writer.add_embedding(
            points, metadata=rows, metadata_header=["label", "predicted"], global_step=epoch, tag="images"
        )


def shown(kernels: NDArray[Any], largest: float) -> NDArray[np.float32]:
    """Return kernels (n, k, k) or (n, k, k, 3) as pictures (n, h, w, 3), 0 to 1; grey is 0, white is +largest, black is -largest."""
    colours = kernels if kernels.ndim == 4 else np.repeat(kernels[..., None], 3, axis=3)
    pictures = np.clip(0.5 + 0.5 * colours / largest, 0, 1).astype(np.float32)
    return pictures.repeat(_LARGER, axis=1).repeat(_LARGER, axis=2)

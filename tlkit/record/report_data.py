"""Write and read report.npz: what a run keeps to be shown, computed from its network and images. Imports no torch.

The rule: a report reads it and computes nothing with the network; a run without the file is shown without these parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.record import record_files

FILE = "report.npz"
FORMAT = 1
_ABOUT = "about"


@dataclass(frozen=True)
class ReportData:
    """What a run keeps to be shown.

    Attributes:
        about: "epoch" and "last", the best and the last epoch; "aux_loss" of auxiliary classifiers that never run in
            training, on so many training images; "split" of the images; "kernels": name, stage, shape and what of each
            convolution; "changes" by stage; "images": row, position, kind, label, said and probability of each; "map": method, labels,
            said, the rows that have a picture, and the parts of the variance that are explained; "domains" of a run with [adapt]: what
            `domains` returns, and the "map" of source and target; "excited": stage and channel of each row of patches; "notes": what is
            missing.
        arrays: "kernelN_before", "_last" and "_best" of convolution N; "images" (n, h, w, 3); "grad_cam" (n, h, w) of the first images;
            "map_points" (n, 2), "map_images"; "domain_points" (n, 2), first the source's; "patches" (channels, 9, h, w, 3).
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def save(folder: Path, data: ReportData) -> None:
    """Write a run's file."""
    about = np.array(json.dumps({"format": FORMAT, **data.about}))
    with files.replacing(folder / FILE) as file:
        np.savez_compressed(file, allow_pickle=False, **{_ABOUT: about, **data.arrays})


def load(folder: Path) -> ReportData | None:
    """Read a run's file; None where there is none that this version can read."""
    try:
        with record_files.arrays(folder / FILE) as arrays:
            about = json.loads(str(arrays[_ABOUT]))
            if about.get("format") != FORMAT:
                return None
            return ReportData(about, {name: arrays[name] for name in arrays.files if name != _ABOUT})
    except (OSError, ValueError, AttributeError):
        return None


def domains(folder: Path) -> dict[str, Any] | None:
    """Return how far apart the domains of a run with [adapt] are; None where its file does not tell.

    "source" and "target" name the images, "images" has their numbers, and "stages" has for each stage the distances "before" and "after"
    training; None of features that are not finite, or of one image.
    """
    data = load(folder)
    found = data.about.get("domains") if data is not None else None
    return None if found is None else {name: value for name, value in found.items() if name != "map"}

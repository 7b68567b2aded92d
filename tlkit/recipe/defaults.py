"""The frozen defaults of a recipe's keys. A run's digest covers only the values that differ from them.

The rule: a new key adds a line here, with the default that keeps the behaviour from before the key existed. So it changes no
digest, and nothing is trained again. A changed default raises `VERSION`; else an earlier run would count as one with the new default.
A key that is added with a better default keeps the earlier behaviour here, so the digests of its arms alone change.
The values are written out, not computed, and a test compares them with the models.

Only an arm counts. What belongs at the head of a recipe, beside `name` and `seeds`, says how runs are chosen, compared, reported
or combined, and is in no digest: `baseline`, `[evaluation]`, `[[loggers]]`, `[search]`, `[ensemble]`. `[cross_validation]` changes
the images of its own runs, so its number of folds is in their digest, and it is in no digest of a recipe without it.
What changes the weights that are learned, or the epoch that is chosen, belongs in an arm: `select_by`, `[adapt]`, `data.unlabelled`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Defaults = Mapping[str, object]

VERSION: Final = 2

# Lists stand for tuples too, as in JSON. A key that must be given has no line. An empty table is one in which nothing differs.
ARM: Final[Defaults] = {
    "head": {},
    "also": {},
    "adapt": None,
    "freeze": {},
    "lr_groups": {},
    "optimizer": {},
    "schedule": {},
    "loss": {},
    "early_stopping": None,
    "select_by": "auto",
    "precision": "auto",
}
BACKBONE: Final[Defaults] = {"input": None, "batch_norm": "batch", "options": {}}
INPUT: Final[Defaults] = {"channels": None, "range": None, "mean": None, "std": None, "resize": None}
HEAD: Final[Defaults] = {
    "kind": "linear",
    "embed": None,
    "pooled": True,
    "positive": None,
    "aux_weight": None,
    "start": "random",
    "options": {},
}
DATA: Final[Defaults] = {
    "image_size": None,
    "image_sizes": None,
    "crop_size": None,
    "tile_size": None,
    "scale_to": None,
    "ignore": 255,
    "channels": None,
    "fit": "crop",
    "max_pixels": 200_000_000,
    "batch_size": 32,
    "augment": [],
    "augment_views": None,
    "initial_epoch": 0,
    "crop": None,
    "on_corrupt": "error",
    "on_overlap": "warn",
    "options": {},
    "split": {},
    "unlabelled": None,
}
UNLABELLED: Final[Defaults] = {"options": {}, "threshold": 0.95, "weight": 1.0, "second_view": []}
SPLIT: Final[Defaults] = {"train": None, "train_per_class": None, "validation": 0.1, "fractions": None}
SIZE_FOR_EPOCHS: Final[Defaults] = {}
FIELD_OF_VIEW: Final[Defaults] = {}
ALSO: Final[Defaults] = {"name": "", "options": {}, "shrink": None, "split": {}}
ALSO_SPLIT: Final[Defaults] = {"per_class": None}
ADAPT: Final[Defaults] = {
    "second_view": [],
    "images": "train",
    "labels_per_class": 0,
    "label_weight": 20,
    "source": True,
    "method": "none",
    "weight": 1.0,
    "ramp": True,
    "pseudo_labels": False,
    "options": {},
}
UNTIL: Final[Defaults] = {}
GRADUAL: Final[Defaults] = {}  # like the two below, it is in no digest: an arm is expanded before
RATE: Final[Defaults] = {"weight_decay": None, "momentum": None, "decay": None}
RATE_RANGE: Final[Defaults] = {"weight_decay": None, "momentum": None}
LOSS: Final[Defaults] = {"name": "cross_entropy", "label_smoothing": 0.0, "class_weights": None, "dice": 0.0, "focal": 0.0}
EARLY_STOPPING: Final[Defaults] = {}

AUGMENTATIONS: Final[Mapping[str, Defaults]] = {
    "random_crop": {"padding": None},
    "random_resized_crop": {"scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]},
    "hflip": {"p": 0.5},
    "vflip": {"p": 0.5},
    "elastic": {"pixels": 10.0, "points": 3},
    "rotate": {"degrees": 15.0, "steps": None},
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "random_erasing": {"p": 0.25, "scale": [0.02, 0.33], "ratio": [0.3, 3.3]},
    "mixup": {"alpha": 0.2},
    "cutmix": {"alpha": 1.0},
    "randaugment": {"ops": 2, "magnitude": 9},
}
# The name is a default of one optimizer and one schedule: those that are used where a recipe names none.
OPTIMIZERS: Final[Mapping[str, Defaults]] = {
    "sgd": {
        "clip_norm": None,
        "accumulate": 1,
        "ema": None,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
    },
    "adam": {
        "clip_norm": None,
        "accumulate": 1,
        "ema": None,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
    },
    "adamw": {
        "name": "adamw",
        "clip_norm": None,
        "accumulate": 1,
        "ema": None,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.01,
    },
}
SCHEDULES: Final[Mapping[str, Defaults]] = {
    "constant": {"epochs": 10, "warmup_epochs": 0.0},
    "step": {"epochs": 10, "warmup_epochs": 0.0, "every": None, "milestones": [], "gamma": 0.1},
    "cosine": {"epochs": 10, "warmup_epochs": 0.0, "final": 0.0},
    "one_cycle": {"name": "one_cycle", "epochs": 10, "rise": 0.3, "start_div": 25.0, "end_div": 10_000.0},
}

# Options of tlkit's own plugins by entry point. Those of all others are in the digest whole: their defaults may change without
# a line here. No other distribution can take one of these names: a name that two offer is refused.
_SHARDS: Final[Defaults] = {
    "path": None, "validation": "", "test": "", "classes": [], "buffer": None, "test_fraction": 0.2, "range": None,
}  # fmt: skip
BACKBONE_OPTIONS: Final[Mapping[str, Defaults]] = {}
DATA_OPTIONS: Final[Mapping[str, Defaults]] = {
    "caltech101": {"background": False, "test_fraction": 0.2},
    "csv": {
        "path": None,
        "file": "labels.csv",
        "validation_file": "",
        "test_file": "",
        "image": "path",
        "prefix": "",
        "suffix": "",
        "label": "label",
        "classes": [],
        "several": False,
        "split": "",
        "separator": "",
        "none": "",
        "group": "",
        "test_fraction": 0.2,
        "delimiter": "",
        "encoding": "",
        "header": True,
        "range": None,
    },
    "domainnet": {"path": None, "source": None, "target": None},
    "drive": {"path": None, "observer": 1},
    "clips": {"frames": 8, "path": None, "test_fraction": 0.2},
    "folder": {"path": None, "test_fraction": 0.2, "group": None, "splits": None, "range": None},
    "images": {"path": None, "range": None},
    "office31": {"path": None, "source": None, "target": None, "test_fraction": 0.2},
    "office_home": {"path": None, "source": None, "target": None, "test_fraction": 0.2},
    "pacs": {"path": None, "source": None, "target": None, "test_fraction": 0.2},
    "parquet": {**_SHARDS, "image": "image", "label": "label"},
    "segmentation_folder": {
        "path": None,
        "images": "images",
        "masks": "masks",
        "ending": "",
        "field_of_view": None,
        "test_fraction": 0.2,
        "group": None,
    },
    "stare": {"path": None, "observer": "ah", "train": 4, "field_of_view": True},
    "chasedb1": {"path": None, "observer": 1, "train": 20, "field_of_view": True},
    "hrf": {"path": None, "train": 5},
    "camvid": {"path": None},
    "cityscapes": {"path": None},
    "coco": {
        "path": None,
        "train": "annotations/instances_train2017.json",
        "validation": None,
        "test": "annotations/instances_val2017.json",
        "images": None,
        "test_fraction": 0.2,
        "bad_boxes": "error",
    },
    "oxford_pets_segmentation": {"path": None},
    "voc": {"path": None, "year": "2012", "classes": None, "test_fraction": 0.2, "bad_boxes": "error"},
    "voc_segmentation": {"path": None, "year": "2012"},
    "shards": {**_SHARDS, "image": "", "label": ""},
    "synthetic": {"classes": 10, "train": 512, "test": 128, "size": 32, "noise": 0.25, "seed": 0},
    "yolo": {"path": None, "classes": None, "test_fraction": 0.2, "bad_boxes": "error"},
    "visda2017": {"path": None, "source": None, "target": None, "test_fraction": 0.2},
}
HEAD_OPTIONS: Final[Mapping[str, Defaults]] = {
    "binary": {"dropout": 0.0},
    "conv": {"dropout": 0.5},
    "cosine": {"scale": 16.0, "dropout": 0.0},
    "decision_tree": {"folds": 5, "scale": True, "max_depth": None, "balanced": False},
    "deeplab": {"width": 256, "rates": [6, 12, 18], "dropout": 0.5},
    "fcn": {"dropout": 0.0},
    "fcos": {"width": 256, "convolutions": 4, "smallest": 8},
    "fpn": {"pyramid": 256, "width": 128, "dropout": 0.2},
    "gradient_boosting": {"folds": 3, "scale": True, "trees": 100, "learning_rate": None},
    "knn": {"folds": 5, "scale": True, "neighbors": None, "weights": "uniform"},
    "lda": {"folds": 5, "scale": True, "shrinkage": None},
    "linear": {"dropout": 0.0},
    "logistic": {"folds": 5, "scale": True, "C": None, "balanced": False},
    "mlp": {"widths": [256], "norm": False, "dropout": 0.0},
    "multilabel": {"dropout": 0.0},
    "random_forest": {"folds": 5, "scale": True, "trees": 300, "min_samples_leaf": None, "balanced": False},
    "retinanet": {"width": 256, "smallest": 8},
    "svm": {"folds": 5, "scale": True, "kernel": "linear", "C": None, "balanced": False},
    "unet": {"widths": None},
}
ADAPTER_OPTIONS: Final[Mapping[str, Defaults]] = {
    "cdan": {"width": 256, "entropy": True},
    "coral": {"ridge": 0.1},
    "dann": {"width": 256},
    "linot": {"ridge": 0.1},
    "mcc": {"temperature": 2.5},
    "mdd": {"width": 256, "margin": 4.0, "reversal": 1.0},  # what runs had before there was the option; its default is 0.1
    "mmd": {"stages": []},
    "shot": {"beta": 0.3},
    "subspace": {"dimensions": 50},
}


def differences(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm without the keys that have their default value, and without tables that are then empty.

    Args:
        arm: As JSON, every key of the models written out, plugin options with their defaults filled. An optional table that is
            given stays, even when it is empty.
    """
    backbone, head, data = arm["backbone"], arm["head"], arm["data"]
    return _rest(
        {
            **arm,
            "backbone": _rest(
                {
                    **backbone,
                    "input": _rest_of_table(backbone["input"], INPUT),
                    "options": _options(backbone["options"], BACKBONE_OPTIONS, backbone["name"]),
                },
                BACKBONE,
            ),
            "head": _rest({**head, "options": _options(head["options"], HEAD_OPTIONS, head["kind"])}, HEAD),
            "data": _rest(
                {
                    **data,
                    "augment": _augmentations(data["augment"]),
                    "options": _options(data["options"], DATA_OPTIONS, data["name"]),
                    "split": _rest(data["split"], SPLIT),
                    "unlabelled": _two_views(data["unlabelled"], "name", DATA_OPTIONS, UNLABELLED),
                },
                DATA,
            ),
            "also": {
                name: _rest(
                    {
                        **table,
                        "options": _options(table["options"], DATA_OPTIONS, table["name"]),
                        "split": _rest(table["split"], ALSO_SPLIT),
                    },
                    ALSO,
                )
                for name, table in arm["also"].items()
            },
            "adapt": _two_views(arm["adapt"], "method", ADAPTER_OPTIONS, ADAPT),
            "freeze": {key: _rest_of_table(value, UNTIL) for key, value in arm["freeze"].items()},
            "lr_groups": {
                key: _rest(value if isinstance(value, dict) else {"lr": value}, RATE)  # a number is a table's short form
                for key, value in arm["lr_groups"].items()
            },
            "optimizer": _rest(arm["optimizer"], OPTIMIZERS[arm["optimizer"]["name"]]),
            "schedule": _rest(arm["schedule"], SCHEDULES[arm["schedule"]["name"]]),
            "loss": _rest(arm["loss"], LOSS),
            "early_stopping": _rest_of_table(arm["early_stopping"], EARLY_STOPPING),
        },
        ARM,
    )


def _rest(table: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in defaults or value != defaults[key]}


def _rest_of_table(value: object, defaults: Defaults) -> object:
    """Return the keys of a table that differ from its defaults; return a value that is not a table as it is."""
    return _rest(value, defaults) if isinstance(value, dict) else value


def _two_views(
    table: Mapping[str, Any] | None, key: str, known: Mapping[str, Defaults], defaults: Defaults
) -> dict[str, Any] | None:
    """Return the keys of a table with a second view that differ from their defaults; None where an arm has no such table."""
    if table is None:
        return None
    options = _options(table["options"], known, table[key])
    return _rest({**table, "options": options, "second_view": _augmentations(table["second_view"])}, defaults)


def _augmentations(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return augmentations with the keys that differ from their defaults."""
    return [_rest(table, AUGMENTATIONS[table["name"]]) for table in tables]


def _options(options: Mapping[str, Any], known: Mapping[str, Defaults], name: str) -> dict[str, Any]:
    """Return the plugin options that differ from their defaults; all of a family, "medmnist:NAME", have the same defaults."""
    return _rest(options, known.get(name.partition(":")[0], {}))

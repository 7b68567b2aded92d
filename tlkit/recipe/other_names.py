"""Names of settings in Keras, PyTorch and Lightning, and the recipe keys that do the same.

The rule: if a recipe has no such key but its meaning is clear, the message shows the line to write instead.
"""

from __future__ import annotations

_RATES = "rates stand in lr_groups: lr_groups.head = 1e-3, lr_groups.backbone = 1e-4"
_EPOCHS = "epochs stand in schedule: schedule.epochs = 10"
_BATCH = "data.batch_size = 32"
_BACKBONE = 'the network stands in backbone: backbone.name = "resnet18", backbone.weights = "imagenet"'
_WEIGHTS = 'backbone.weights = "imagenet", or "none" for random weights'
_DATA = '[data] name = "folder", options = { path = "images" }'
_AUGMENT = 'augmentations stand in a list: data.augment = ["hflip"]'
_BALANCED = 'rare classes count more with loss.class_weights = "balanced"'
_SCHEDULE = '[schedule] name = "cosine", or "constant", "step", "one_cycle"'
_FREEZE = "freeze.backbone = true, or a stage: freeze.stem = true"
_SIZE = "data.image_size = 224"
_PRECISION = 'precision = "auto", or "float32", "bfloat16"; on a GPU "tf32", "float16" too'
_STOPPING = "early_stopping = { patience = 5 }"
_VALIDATION = "data.split.validation = 0.1"
_CLIP = "optimizer.clip_norm = 1.0"
_ACCUMULATE = "optimizer.accumulate = 4"
_DROPOUT = "dropout is an option of the head: head.options = { dropout = 0.2 }"
_SEEDS = "seeds stand at the head of a recipe: seeds = [0, 1, 2]"
_DEVICE = "where a recipe runs is an option of the command: --device cuda"
_WORKERS = "nothing to set: images are decoded once, in parallel, and stored"
_CLASSES = "nothing to set: the classes are counted in the data"

_KNOWN = {
    **dict.fromkeys(("lr", "learning_rate", "lrs", "base_lr", "max_lr", "rate"), _RATES),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_epochs"), _EPOCHS),
    **dict.fromkeys(("batch", "bs", "batch_size", "batchsize", "train_batch_size"), _BATCH),
    **dict.fromkeys(("model", "arch", "architecture", "net", "network", "encoder"), _BACKBONE),
    **dict.fromkeys(("pretrained", "checkpoint", "init"), _WEIGHTS),
    **dict.fromkeys(("dataset", "datasets", "data_dir", "root"), _DATA),
    **dict.fromkeys(("transforms", "transform", "augmentation", "augmentations", "augs"), _AUGMENT),
    **dict.fromkeys(
        (
            "class_weight",
            "class_weights",
            "oversample",
            "oversampling",
            "sampler",
            "weighted_sampler",
            "balanced",
            "balance",
            "pos_weight",
        ),
        _BALANCED,
    ),
    **dict.fromkeys(("lr_scheduler", "scheduler", "lr_schedule"), _SCHEDULE),
    **dict.fromkeys(("freeze_backbone", "trainable", "frozen", "requires_grad"), _FREEZE),
    **dict.fromkeys(("img_size", "input_size", "imgsz", "size", "resolution", "image_size"), _SIZE),
    **dict.fromkeys(("amp", "fp16", "bf16", "mixed_precision", "dtype"), _PRECISION),
    "patience": _STOPPING,
    **dict.fromkeys(("val_split", "validation_split", "val_fraction", "val_size"), _VALIDATION),
    **dict.fromkeys(("grad_clip", "clip_grad", "gradient_clip_val", "clipnorm", "clip_grad_norm", "max_grad_norm"), _CLIP),
    **dict.fromkeys(("accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum"), _ACCUMULATE),
    "momentum": 'momentum is a key of one optimizer: [optimizer] name = "sgd", momentum = 0.9',
    "weight_decay": "optimizer.weight_decay = 0.01",
    "label_smoothing": "loss.label_smoothing = 0.1",
    **dict.fromkeys(("dropout", "drop_rate"), _DROPOUT),
    **dict.fromkeys(("seed", "random_seed", "random_state"), _SEEDS),
    **dict.fromkeys(("device", "devices", "gpus", "accelerator"), _DEVICE),
    **dict.fromkeys(("num_workers", "workers", "prefetch"), _WORKERS),
    **dict.fromkeys(("classes", "num_classes", "n_classes"), _CLASSES),
    "warmup": 'warmup is a key of three schedules: [schedule] name = "cosine", warmup_epochs = 1; one_cycle has rise instead',
    "path": 'data.options.path = "images"',
    "shuffle": "nothing to set: training images are shuffled in every epoch, the same for every arm of one seed",
}


def hint(key: str) -> str:
    """Return the line to write instead of a key of another framework, "" if the key is not known."""
    return _KNOWN.get(key.lower().replace("-", "_"), "")

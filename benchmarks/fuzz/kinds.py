"""The kinds of input, with how many a whole run tries."""

from __future__ import annotations

from benchmarks.fuzz import images, recipes, run_files, tables, tensors
from benchmarks.fuzz.trying import Kind

KINDS = (
    Kind("recipes", "TOML files by bytes and by tables, resolved as `tlkit validate` does", 1_000_000, recipes.prepare),
    Kind(
        "images",
        "each format cut at every 64th byte, with changed bytes, and files that claim to be enormous",
        200_000,
        images.prepare,
    ),
    Kind("weights", "safetensors, npz and files of torch.save, by bytes and by header", 200_000, tensors.weights),
    Kind("heads", "solved heads of skops, by bytes and by schema", 50_000, tensors.heads),
    Kind("cifar", "pickles of CIFAR batches", 200_000, tensors.cifar),
    Kind("tables", "CSV files of images and classes", 200_000, tables.prepare),
    Kind("checkpoints", "by bytes, by header and by what it says of the run", 100_000, run_files.checkpoints),
    Kind("records", "the JSON, TOML and npz files of a run, and of a recipe's folder", 200_000, run_files.records),
)

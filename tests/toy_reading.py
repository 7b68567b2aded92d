"""A data set read from a folder."""

from pathlib import Path

from tlkit.plugin import Dataset, Images, registry
from tlkit.recipe import parsing
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places


def read(name: str, folder: Path, **options: object) -> Images:
    dataset = registry.get(Dataset, name)
    checked = parsing.options(dataset.options, options, place="data.options")
    places = Places(recipe=folder, data=folder, offline=True)
    found = data_files.find_data(name, dataset, checked, places, fetch=False)
    return datasets.read_data(dataset, found, checked)

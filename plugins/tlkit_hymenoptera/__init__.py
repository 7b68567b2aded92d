"""Ants and bees: the pictures of PyTorch's transfer-learning tutorial."""

from tlkit.plugin import Dataset, Download

hymenoptera = Dataset(
    read="tlkit_folder.read:read",
    find="tlkit_hymenoptera.find:find",
    subfolder="hymenoptera_data",
    downloads=(
        Download(
            url="https://download.pytorch.org/tutorial/hymenoptera_data.zip",
            # as in pytorch/tutorials, .jenkins/download_data.py
            checksum="sha256:fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209",
            filename="hymenoptera_data.zip",
            archive=True,
        ),
    ),
    nominal={"train": 244, "test": 153},
    classes=2,
    licence="research use; pictures from ImageNet",
    summary="397 photographs of ants and bees, 244 to train on",
)

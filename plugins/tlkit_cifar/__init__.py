"""CIFAR-10 and CIFAR-100 in the python layout of the University of Toronto."""

from tlkit.plugin import Dataset, Download

_SITE = "https://www.cs.toronto.edu/~kriz/"
_LICENCE = "none stated by its authors; cite Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"

cifar10 = Dataset(
    read="tlkit_cifar.read:cifar10",
    files=("batches.meta", "data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"),
    subfolder="cifar-10-batches-py",
    downloads=(
        Download(
            url=_SITE + "cifar-10-python.tar.gz",
            checksum="md5:c58f30108f718f92721af3b95e74349a",  # from the same page as the archive
            filename="cifar-10-python.tar.gz",
            archive=True,
        ),
    ),
    nominal={"train": 50_000, "test": 10_000},
    classes=10,
    licence=_LICENCE,
    summary="60,000 photographs of 32x32 in 10 classes of animals and vehicles",
)

cifar100 = Dataset(
    read="tlkit_cifar.read:cifar100",
    files=("meta", "train", "test"),
    subfolder="cifar-100-python",
    downloads=(
        Download(
            url=_SITE + "cifar-100-python.tar.gz",
            checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",  # from the same page as the archive
            filename="cifar-100-python.tar.gz",
            archive=True,
        ),
    ),
    nominal={"train": 50_000, "test": 10_000},
    classes=100,
    licence=_LICENCE,
    summary="60,000 photographs of 32x32 in 100 fine classes",
)

"""Fashion-MNIST, whole and as a small subset that is shipped."""

from tlkit.plugin import Dataset, Download

_SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # serves no https; the checksums are what is trusted
_MD5 = {  # from https://github.com/zalandoresearch/fashion-mnist
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}

fashion_mnist = Dataset(
    read="tlkit_fashion_mnist.read:fashion_mnist",
    files=tuple(_MD5),
    downloads=tuple(Download(url=_SITE + name, checksum=f"md5:{md5}", filename=name) for name, md5 in _MD5.items()),
    nominal={"train": 60_000, "test": 10_000},
    classes=10,
    licence="MIT, Zalando SE",
    summary="70,000 grey pictures of clothes, 28x28, in 10 classes",
)

fashion_mnist_mini = Dataset(
    read="tlkit_fashion_mnist.read:fashion_mnist_mini",
    files=("fashion_mnist_mini.npz",),
    inside="tlkit_fashion_mnist",
    nominal={"train": 2_000, "test": 1_000},
    classes=10,
    licence="MIT, Zalando SE (LICENSE.fashion_mnist)",
    summary="the first 200 training and 100 test pictures of each class of Fashion-MNIST, shipped with tlkit",
)

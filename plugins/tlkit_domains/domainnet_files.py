"""DomainNet's addresses, checksums and counts.

Sizes and sha256 are those of TensorFlow Datasets, image_classification/domainnet/checksums.tsv; "cleaned version" of ai.bu.edu/M3SDA.
"""

from __future__ import annotations

from pydantic import BaseModel

from tlkit.plugin import Download

_SITE = "http://csr.bu.edu/ftp/visda/2019/multi-source"
# Images of the training list and of the test list.
COUNTS = {
    "clipart": (33_525, 14_604),
    "infograph": (36_023, 15_582),
    "painting": (50_416, 21_850),
    "quickdraw": (120_750, 51_750),
    "real": (120_906, 52_041),
    "sketch": (48_212, 20_916),
}
_CLEANED = ("clipart", "painting")  # of which the archives without duplicates lie in a folder of their own
# Of the archive, of the training list, of the test list.
_SHA256 = {
    "clipart": (
        "f8f248a3e8bbc9868c523ae24e6601b4c2ad102afc60c0efeb4f3255df22354d",
        "affdadf5f95a7583e6b98030a3d35007e2613ee4dd942393c5a705ec2b429312",
        "62c8e36aaba1c41ad9e249099739707220a44c08f167b37ef420f34a31628a6b",
    ),
    "infograph": (
        "891e14f476317e97b6f06d6498c11d0a5b8d0c8b57210765ed9beb072da611fa",
        "36b44cbd41a2915e0dc73b4f4be8862a6f3c220f93c8d63fb2439beeae3aefda",
        "413cfa54ac92e7e6b242f4f09fbd9c8ace85c4deaf3cb6c81ff6b68264460136",
    ),
    "painting": (
        "fa47e6d405503ea0286cabd767f176bd30e988b63ddd7b9db16cf030c9770015",
        "f1da38d50a702fddf1329f85bc607d7a2abcae7e6aec75e1fd49cc1bd340d47b",
        "11472b13b5188e09f06918b12eebb660588c97a20e43e268d9b02e3e37eb8f97",
    ),
    "quickdraw": (
        "9f37df2a8c3733703dbb35ad9964202a65f675ca30137756457537536b485d84",
        "3a5edd3bc215772010eebc87f158707703dd7e48091d13b816af81326a9d1c0f",
        "2a00a60650a453c65c356da748fec54084a197272137c440e7d52d08947357bf",
    ),
    "real": (
        "d7fe010b430c5b510f85d657d38c4a1924822695fabea4fef57bd00dba251d63",
        "19d483256d24aef19e581b65eda8333fd918aef3eb733fe499ff384120e3a289",
        "2b3f75bcde309aeb5931292084b2162e936b5f189e3bb1ad716f0f74c460864c",
    ),
    "sketch": (
        "23a7dbae7016b343e934399beaa8a68728fb5e570ebe2c71df9b75cf91c499fc",
        "72f4bc6afa5702a1ccba800d0053c1427de87439dfaf246dbc9a2e71abfec54f",
        "3fb48fca18c507c4321f007c3f62b308ec232ff6928cbfe2af64e76ec366e840",
    ),
}


def list_name(domain: str, split: str) -> str:
    """Return the file name of an official list; `split` is "train" or "test"."""
    return f"{domain}_{split}.txt"


def downloads(options: BaseModel | None) -> tuple[Download, ...]:
    """Return what is fetched of the domains that the options name, or of all: an archive (0.4 to 6 GB) and two lists each."""
    named = [getattr(options, key) for key in ("source", "target") if getattr(options, key, None)]
    return tuple(each for domain in named or COUNTS for each in _of_domain(domain))


def _of_domain(domain: str) -> tuple[Download, ...]:
    archive, *lists = _SHA256[domain]
    folder = f"{_SITE}/groundtruth" if domain in _CLEANED else _SITE
    listed = [
        Download(f"{_SITE}/domainnet/txt/{list_name(domain, split)}", f"sha256:{digest}", list_name(domain, split))
        for split, digest in zip(("train", "test"), lists, strict=True)
    ]
    pictures = Download(f"{folder}/{domain}.zip", f"sha256:{archive}", f"{domain}.zip", archive=True, holds=domain)
    return (*listed, pictures)

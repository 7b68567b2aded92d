"""Data sets with several domains: the same classes in pictures of different kinds.

The option `source` names the domain that is trained on, `target` the one that is tested. Only DomainNet has addresses with published
checksums; for the others `page` says where a person gets them.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field, model_validator

from tlkit.plugin import Dataset, Options
from tlkit_domains.domainnet_files import COUNTS, downloads

Office31Domain = Literal["amazon", "dslr", "webcam"]
OfficeHomeDomain = Literal["art", "clipart", "product", "real_world"]
PacsDomain = Literal["photo", "art_painting", "cartoon", "sketch"]
VisdaDomain = Literal["train", "validation", "test"]
DomainNetDomain = Literal["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]


class DomainOptions(Options):
    """Which domain is trained on, and which is tested; one of both may be missing.

    Attributes:
        path: Folder of the data set.
        source: Domain whose images are trained on. Without `target`, a part of them is the test set.
        target: Domain whose images are tested. Without `source` the data set is this domain alone, as for [also.NAME].
    """

    path: str | None = None
    source: str | None = None
    target: str | None = None

    @model_validator(mode="after")
    def _named(self) -> DomainOptions:
        if self.source is None and self.target is None:
            raise ValueError("names no domain; give source, the domain that is trained on, or target, the one that is tested")
        if self.source == self.target:
            raise ValueError(f'source and target are both "{self.source}"; give one, or two domains')
        return self

    @property
    def alone(self) -> str | None:
        """The domain where only one is named; None where there are two."""
        return (self.source or self.target) if self.source is None or self.target is None else None


class _HeldOut(DomainOptions):
    """Domains without an official test set.

    Attributes:
        test_fraction: Part of each class that becomes the test set where one domain is named.
    """

    test_fraction: float = Field(default=0.2, gt=0, lt=1)


class Office31Options(_HeldOut):
    """Which domain of amazon, dslr and webcam is trained on, and which is tested.

    Attributes:
        path: Folder that holds amazon, dslr and webcam.
        source: Domain whose images are trained on. Without `target`, a part of them is the test set.
        target: Domain whose images are tested. Without `source` the data set is this domain alone, as for [also.NAME].
        test_fraction: Part of each class that becomes the test set where one domain is named.
    """

    source: Office31Domain | None = None
    target: Office31Domain | None = None


class OfficeHomeOptions(_HeldOut):
    """Which domain of art, clipart, product and real_world is trained on, and which is tested.

    Attributes:
        path: Folder that holds Art, Clipart, Product and Real World.
        source: Domain whose images are trained on. Without `target`, a part of them is the test set.
        target: Domain whose images are tested. Without `source` the data set is this domain alone, as for [also.NAME].
        test_fraction: Part of each class that becomes the test set where one domain is named.
    """

    source: OfficeHomeDomain | None = None
    target: OfficeHomeDomain | None = None


class PacsOptions(_HeldOut):
    """Which domain of photo, art_painting, cartoon and sketch is trained on, and which is tested.

    Attributes:
        path: Folder that holds photo, art_painting, cartoon and sketch.
        source: Domain whose images are trained on. Without `target`, a part of them is the test set.
        target: Domain whose images are tested. Without `source` the data set is this domain alone, as for [also.NAME].
        test_fraction: Part of each class that becomes the test set where one domain is named.
    """

    source: PacsDomain | None = None
    target: PacsDomain | None = None


class VisdaOptions(_HeldOut):
    """Which domain is trained on, and which is tested: train (renderings), validation (photographs), test (frames of videos).

    Attributes:
        path: Folder that holds train, validation and test, each with its image_list.txt.
        source: Domain whose images are trained on. Without `target`, a part of them is the test set.
        target: Domain whose images are tested. Without `source` the data set is this domain alone, as for [also.NAME].
        test_fraction: Part of each class that becomes the test set where one domain is named.
    """

    source: VisdaDomain | None = None
    target: VisdaDomain | None = None


class DomainNetOptions(DomainOptions):
    """Which of the six domains is trained on, and which is tested; each has official lists of training and test images.

    Attributes:
        path: Folder that holds the domains' folders and lists, clipart_train.txt and so on.
        source: Domain whose training list is trained on. Without `target`, its test list is tested.
        target: Domain whose test list is tested. Without `source` the data set is this domain alone, as for [also.NAME].
    """

    source: DomainNetDomain | None = None
    target: DomainNetDomain | None = None


_OFFICE31 = {"amazon": 2_817, "dslr": 498, "webcam": 795}
_OFFICE_HOME = {"art": 2_427, "clipart": 4_365, "product": 4_439, "real_world": 4_357}
_PACS = {"photo": 1_670, "art_painting": 2_048, "cartoon": 2_344, "sketch": 3_929}
_VISDA = {"train": 152_397, "validation": 55_388, "test": 72_372}


def _nominal(counts: dict[str, int], options: _HeldOut | None) -> dict[str, int]:
    """Return the images of each split; of one domain alone within a few images, since every class is rounded by itself."""
    if options is None:
        return {}
    if options.alone is None:
        return {"train": counts[options.source or ""], "test": counts[options.target or ""]}
    test = round(counts[options.alone] * options.test_fraction)
    return {"train": counts[options.alone] - test, "test": test}


def _domainnet_images(options: DomainNetOptions | None) -> dict[str, int]:
    if options is None:
        return {}
    trained, tested = options.source or options.target or "", options.target or options.source or ""
    return {"train": COUNTS[trained][0], "test": COUNTS[tested][1]}


office31 = Dataset(
    read="tlkit_domains.folders:read_office31",
    find="tlkit_domains.folders:find_office31",
    subfolder="domain_adaptation_images",
    page="https://faculty.cc.gatech.edu/~judy/domainadapt/",
    nominal=partial(_nominal, _OFFICE31),
    classes=31,
    options=Office31Options,
    licence="research use",
    summary="4,110 pictures of office objects in 31 classes: of a shop (amazon), a good camera (dslr), a webcam",
)

office_home = Dataset(
    read="tlkit_domains.folders:read_office_home",
    find="tlkit_domains.folders:find_office_home",
    subfolder="OfficeHomeDataset_10072016",
    page="https://www.hemanthdv.org/officeHomeDataset.html",
    nominal=partial(_nominal, _OFFICE_HOME),
    classes=65,
    options=OfficeHomeOptions,
    licence="research use, not commercial",
    summary="15,588 pictures of things in offices and homes in 65 classes: art, clipart, products, photographs",
)

pacs = Dataset(
    read="tlkit_domains.folders:read_pacs",
    find="tlkit_domains.folders:find_pacs",
    subfolder="kfold",
    page="https://dali-dl.github.io/project_iccv2017.html",
    nominal=partial(_nominal, _PACS),
    classes=7,
    options=PacsOptions,
    licence="research use",
    summary="9,991 pictures in 7 classes: photographs, paintings, cartoons, sketches",
)

visda2017 = Dataset(
    read="tlkit_domains.lists:read_visda",
    find="tlkit_domains.lists:find_visda",
    subfolder="visda-2017",
    page="https://github.com/VisionLearningGroup/taskcv-2017-public/tree/master/classification",
    nominal=partial(_nominal, _VISDA),
    classes=12,
    options=VisdaOptions,
    licence="research use, not commercial",
    summary="280,157 pictures in 12 classes: renderings (train), photographs (validation), frames of videos (test)",
)

domainnet = Dataset(
    read="tlkit_domains.lists:read_domainnet",
    find="tlkit_domains.lists:find_domainnet",
    subfolder="domainnet",
    downloads=downloads,
    page="https://ai.bu.edu/M3SDA/",
    nominal=_domainnet_images,
    classes=345,
    options=DomainNetOptions,
    licence="research use, not commercial",
    summary="586,575 pictures in 345 classes and six domains, from clipart to photographs; the cleaned version",
)

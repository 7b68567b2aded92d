"""Names, classes, counts and checksums of the sets: facts of zenodo.org/records/10519652 and of the medmnist package's table."""

from __future__ import annotations

from dataclasses import dataclass

from tlkit.errors import PluginError, nearest
from tlkit.plugin import Dataset, Download

_SITE = "https://zenodo.org/records/10519652/files/"
_SIZES = (28, 64, 128, 224)  # pixels
_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)


@dataclass(frozen=True)
class Set:
    """One set.

    Attributes:
        classes: In label order.
        images: Of train, val and test.
        md5: Of the files of 28, 64, 128 and 224 pixels.
        summary: One line.
        licence: Licence of the images.
        many: An image has any number of the classes.
    """

    classes: tuple[str, ...]
    images: tuple[int, int, int]
    md5: tuple[str, str, str, str]
    summary: str
    licence: str = "CC BY 4.0"
    many: bool = False


SETS = {
    "chestmnist": Set(
        (
            *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
            *("consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
        ),
        (78_468, 11_219, 22_433),
        (
            *("02c8a6516a18b556561a56cbdd36c4a8", "9de6cd0b934ebb5b7426cfba5efbae16"),
            *("db107e5590b27930b62dbaf558aebee3", "45bd33e6f06c3e8cdb481c74a89152aa"),
        ),
        'chests by X-ray, any number of 14 findings each (head.kind = "multilabel")',
        many=True,
    ),
    "pathmnist": Set(
        (
            *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
            *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
        ),
        (89_996, 10_004, 7_180),
        (
            *("a8b06965200029087d5bd730944a56c1", "55aa9c1e0525abe5a6b9d8343a507616"),
            *("ac42d08fb904d92c244187169d1fd1d9", "2c51a510bcdc9cf8ddb2af93af1eadec"),
        ),
        "colon tissue under the microscope",
    ),
    "dermamnist": Set(
        (
            *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions"),
            *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
        ),
        (7_007, 1_003, 2_005),
        (
            *("0744692d530f8e62ec473284d019b0c7", "b70a2f5635c6199aeaa28c31d7202e1f"),
            *("2defd784463fa5243564e855ed717de1", "8974907d8e169bef5f5b96bc506ae45d"),
        ),
        "spots of the skin under the dermatoscope",
        licence="CC BY-NC 4.0",
    ),
    "octmnist": Set(
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97_477, 10_832, 1_000),
        (
            *("c68d92d5b585d8d81f7112f81e2d0842", "e229e9440236b774d9f0dfef9d07bdaf"),
            *("0a97e76651ace45c5d943ee3f65b63ae", "abc493b6d529d5de7569faaef2773ba3"),
        ),
        "retinas by optical coherence tomography",
    ),
    "pneumoniamnist": Set(
        ("normal", "pneumonia"),
        (4_708, 524, 624),
        (
            *("28209eda62fecd6e6a2d98b1501bb15f", "8f4eceb4ccffa70c672198ea285246c6"),
            *("05b46931834c231683c68f40c47b2971", "d6a3c71de1b945ea11211b03746c1fe1"),
        ),
        "chest X-rays of children",
    ),
    "retinamnist": Set(
        ("0", "1", "2", "3", "4"),
        (1_080, 120, 400),
        (
            *("bd4c0672f1bba3e3a89f0e4e876791e4", "afda852cc34dcda56f86ad2b2457dbcc"),
            *("e48e916a24454daf90583d4e6efb1a18", "eae7e3b6f3fcbda4ae613ebdcbe35348"),
        ),
        "the back of the eye, five grades of diabetic retinopathy",
    ),
    "breastmnist": Set(
        ("malignant", "normal, benign"),
        (546, 78, 156),
        (
            *("750601b1f35ba3300ea97c75c52ff8f6", "742edef2a1fd1524b2efff4bd7ba9364"),
            *("363e4b3f8d712e9b5de15470a2aaadf1", "b56378a6eefa9fed602bb16d192d4c8b"),
        ),
        "breasts by ultrasound",
    ),
    "bloodmnist": Set(
        (
            *("basophil", "eosinophil", "erythroblast", "immature granulocyte"),
            *("lymphocyte", "monocyte", "neutrophil", "platelet"),
        ),
        (11_959, 1_712, 3_421),
        (
            *("7053d0359d879ad8a5505303e11de1dc", "2b94928a2ae4916078ca51e05b6b800b"),
            *("adace1e0ed228fccda1f39692059dd4c", "b718ff6835fcbdb22ba9eacccd7b2601"),
        ),
        "single cells of the blood",
    ),
    "tissuemnist": Set(
        (
            *("collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells"),
            *("interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb"),
        ),
        (165_466, 23_640, 47_280),
        (
            *("ebe78ee8b05294063de985d821c1c34b", "123ece2eba09d0aa5d698fda57103344"),
            *("61b955355d7425a89687b06cca3ce0c2", "b077128c4a949f0a4eb01517f9037b9c"),
        ),
        "cells of the kidney",
    ),
    "organamnist": Set(
        _ORGANS,
        (34_561, 6_491, 17_778),
        (
            *("68e3f8846a6bd62f0c9bf841c0d9eacc", "2dcccc29b88e6da5a01161ef20cda288"),
            *("eeae80d0a227a8d099027e1b3cfd3b60", "50747347e05c87dd3aaf92c49f9f3170"),
        ),
        "organs of the abdomen by computed tomography, axial",
    ),
    "organcmnist": Set(
        _ORGANS,
        (12_975, 2_392, 8_216),
        (
            *("b9ceb9546e10131b32923c5bbeaea2b1", "3ce34a8724ea6f548e6db4744d03b6a9"),
            *("773c1f009daa3fe5d9a2a201b2a7ed94", "050f5e875dc056f6768abf94ec9995d1"),
        ),
        "organs of the abdomen by computed tomography, coronal",
    ),
    "organsmnist": Set(
        _ORGANS,
        (13_932, 2_452, 8_827),
        (
            *("9ab87b696fb54e2a387ebe992d6ed5f1", "53a6d115339d874c25e309a994ff46d3"),
            *("ded0c5fa01a95dc4978b956f613e9b8e", "b354719e553fbbb2513d5533f52a4cb1"),
        ),
        "organs of the abdomen by computed tomography, sagittal",
    ),
}


def dataset(name: str) -> Dataset:
    """Return the set of a name, "pneumoniamnist" or "pneumoniamnist_224".

    Raises:
        PluginError: there is none.
    """
    base, _, size = name.partition("_")
    names = [f"{each}{'' if pixels == 28 else f'_{pixels}'}" for each in SETS for pixels in _SIZES]
    if name not in names:
        raise PluginError(
            f'medmnist: there is no set "{name}".',
            f"sets: {', '.join(SETS)}; _64, _128 and _224 are larger",
            nearest(name, names),
        )
    found, pixels = SETS[base], int(size or 28)
    train, validation, test = found.images
    checksum = f"md5:{found.md5[_SIZES.index(pixels)]}"
    return Dataset(
        read=f"tlkit_medmnist.read:{base}",
        files=(f"{name}.npz",),
        subfolder="medmnist",
        downloads=(Download(url=f"{_SITE}{name}.npz", checksum=checksum, filename=f"{name}.npz"),),
        nominal={"train": train, "validation": validation, "test": test},
        classes=len(found.classes),
        licence=found.licence,
        summary=f"{sum(found.images):,} images of {pixels}x{pixels}: {found.summary}",
    )

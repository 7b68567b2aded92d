"""MedMNIST v2 and v2+ (Yang et al. 2023, Scientific Data 10:41; zenodo.org/records/10519652): its flat sets.

"medmnist:pneumoniamnist" is the set at 28 pixels, "medmnist:pneumoniamnist_64", "_128" and "_224" are its larger versions.
"""

from tlkit.plugin import Family
from tlkit_medmnist.sets import SETS

medmnist = Family(
    make="tlkit_medmnist.sets:dataset",
    names=tuple(SETS),
    summary="12 sets of medical images at 28, 64, 128 or 224 pixels, as .npz files",
)

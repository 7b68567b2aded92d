"""Data sets that torchvision reads: "torchvision:oxford_pets" and others, in the layout that torchvision keeps them in."""

from tlkit.plugin import Family
from tlkit_torchvision.sets import SETS

torchvision = Family(
    make="tlkit_torchvision.sets:dataset",
    names=tuple(SETS),
    summary="data sets in torchvision's layout, read by its own classes",
)

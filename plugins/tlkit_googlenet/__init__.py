"""GoogLeNet with its two auxiliary classifiers: Szegedy et al. 2015 (arXiv:1409.4842), as torchvision builds it, with BatchNorm.

Pixels are rescaled by the stem in every arm; torchvision does it only where weights are given.
"""

from tlkit.plugin import AuxHead, Backbone, pytorch

MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
STAGES = ("conv1", "conv2", "conv3", *(f"inception{module}" for module in MODULES))
_WEIGHT = 0.3  # section 5 of the paper

googlenet = Backbone(
    build="tlkit_googlenet.build:googlenet",
    stages={name: (name,) for name in STAGES},
    features=1024,
    classifier="fc",
    library="torchvision.models.googlenet",
    weights={"imagenet1k-v1": pytorch("googlenet-1378be20.pth")},
    aux_heads={
        "aux1": AuxHead(build="tlkit_googlenet.build:first", after="inception4a", classifier="fc2", weight=_WEIGHT),
        "aux2": AuxHead(build="tlkit_googlenet.build:second", after="inception4d", classifier="fc2", weight=_WEIGHT),
    },
    minimum_size=15,
    dropout=0.2,
    summary="GoogLeNet with its two auxiliary classifiers, torchvision",
)

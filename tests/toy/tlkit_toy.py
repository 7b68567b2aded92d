"""A backbone that trains in a moment and a head of several stages, installed like anybody's: a module and its entry points on sys.path."""

from dataclasses import replace

from tlkit.plugin import AuxHead, Backbone, Convention, Head

_HALF = Convention(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop=1.0)

toy = Backbone(
    build="tlkit_toy_build:toy",
    stages={"stem": ("conv1", "bn1"), "block1": ("block1",), "block2": ("block2",)},
    features=16,
    classifier="fc",
    library="tlkit_toy_build.ToyNet",
    input=_HALF,
    image_size=16,
    minimum_size=8,
    summary="three convolutions",
)
toy_tapped = replace(
    toy,
    build="tlkit_toy_build:toy_tapped",
    library="tlkit_toy_build.ToyTapped",
    aux_heads={"aux": AuxHead(build="tlkit_toy_build:aux", after="block1", classifier="fc", weight=0.4, minimum_size=12)},
)
toy_maps = Head(build="tlkit_toy_build:toy_maps", reads="strides", summary="a linear layer on the mean of every map")

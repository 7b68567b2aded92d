"""LeNet-5, LeCun et al. 1998 (Proc. IEEE 86(11), section II.B), on colour pictures; layers are named as in the paper.

As it is taught: every map of S2 feeds every map of C3, subsampling is average pooling, and the classifier is the recipe's head, not
radial basis functions. The paper's pictures are grey; here the first layer sees three channels, as every backbone does.
"""

from tlkit.plugin import Backbone, Convention

lenet5 = Backbone(
    build="tlkit_lenet.build:lenet5",
    stages={"c1": ("c1",), "c3": ("c3",), "c5": ("c5",), "f6": ("f6",)},
    features=84,
    classifier="output",
    input=Convention(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop=1.0),
    image_size=32,
    minimum_size=32,
    summary="LeNet-5, 1998: 62 thousand parameters",
)

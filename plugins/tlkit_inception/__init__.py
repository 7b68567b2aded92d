"""Inception v3 with its auxiliary classifier: Szegedy et al. 2016 (arXiv:1512.00567), as torchvision builds it.

torchvision rescales the pixels inside the network only where weights are given. Here it is an operation of the stem in every arm, so
arms with and without weights see the same pictures.
"""

from dataclasses import replace

from tlkit.plugin import IMAGENET, AuxHead, Backbone, pytorch

STAGES = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)

inception_v3 = Backbone(
    build="tlkit_inception.build:inception_v3",
    stages={name: (name,) for name in STAGES},
    features=2048,
    classifier="fc",
    library="torchvision.models.inception_v3",
    weights={"imagenet1k-v1": pytorch("inception_v3_google-0cc3c7bd.pth", replace(IMAGENET, crop=299 / 342))},
    aux_heads={
        "AuxLogits": AuxHead(
            build="tlkit_inception.build:auxiliary",
            after="Mixed_6e",
            classifier="fc",
            weight=0.4,  # the usual choice, of TensorFlow's Inception (slim); the paper gives none
            minimum_size=299,  # its 5x5 convolution stands on an average of the 17x17 map
        )
    },
    image_size=299,
    minimum_size=75,
    dropout=0.5,
    summary="Inception v3 with its auxiliary classifier, torchvision",
)

"""dlib's face ResNet for tlkit: a source data set other than ImageNet, about 3 million pictures of faces.

Not for telling who somebody is: see README.md.
"""

from tlkit.plugin import Backbone, Convention, Download, Weights

# face-api 1.7.15, src/faceRecognitionNet/FaceRecognitionNet.ts: (pixel - mean) / 255 of RGB, pictures of 150 x 150 pixels. dlib itself
# divides by 256. face-api scales the whole picture, so nothing is cropped.
_MEAN = (122.782, 117.001, 104.298)
_INPUT = Convention(mean=(_MEAN[0] / 255, _MEAN[1] / 255, _MEAN[2] / 255), std=(1.0, 1.0, 1.0), crop=1.0)

BLOCKS = {
    "conv32": ("conv32_1", "conv32_2", "conv32_3"),
    "conv64": ("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    "conv128": ("conv128_down", "conv128_1", "conv128_2"),
    "conv256": ("conv256_down", "conv256_1", "conv256_2"),
    "out": ("conv256_down_out",),
}
"""Stage -> its blocks, under face-api's names."""

dlib_face_resnet29 = Backbone(
    build="tlkit_dlib_face.build:dlib_face_resnet29",
    stages={"stem": ("conv32_down",), **BLOCKS},
    features=256,
    classifier="fc",
    library="face-api's FaceRecognitionNet",
    input=_INPUT,
    weights={
        "faces": Weights(
            source=Download(
                url="https://registry.npmjs.org/@vladmandic/face-api/-/face-api-1.7.15.tgz",
                checksum="sha256:0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
                filename="vladmandic-face-api-1.7.15.tgz",
            ),
            input=_INPUT,
            read="tlkit_dlib_face.package:read",
            classes=128,
            licence=(
                "public domain by dlib's author, MIT by the package face-api; trained on faces of VGG-Face and FaceScrub,"
                " which their publishers offer for research"
            ),
            summary="about 3 million faces of 7,485 people, D. King 2017; 8 bits a value",
        ),
    },
    image_size=150,
    minimum_size=103,
    summary="29 convolutions without BatchNorm, trained on faces (dlib, D. King 2017)",
)

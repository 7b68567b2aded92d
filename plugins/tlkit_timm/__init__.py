"""Every image classifier of timm (R. Wightman, github.com/huggingface/pytorch-image-models), with timm's names and outputs.

"timm:resnet18" is the model, "timm:resnet18.a1_in1k" the model as one set of its trained weights wants it. ResNets, EfficientNets,
ConvNeXts, vision transformers and Swin transformers are cut after every stage, all others before the head only.
"""

from tlkit.plugin import Family

timm = Family(
    make="tlkit_timm.offer:backbone",
    names=(
        *("resnet18", "resnet26d", "efficientnet_b0", "efficientnet_lite0", "mixnet_s", "convnext_atto", "convnextv2_femto"),
        *("vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"),
        *("regnetx_002", "densenet121", "ghostnet_050", "repvgg_a0", "edgenext_xx_small", "mobilevit_xxs", "levit_128s"),
        *("pit_ti_224", "resnetv2_50"),
    ),
    summary="timm's image classifiers by its own names, with a tag for trained weights; it has many more than these",
)

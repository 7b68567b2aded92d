"""The methods that are trained by steps, as plugins. They are not in the package itself, whose modules have their names."""

from pydantic import Field

from tlkit.plugin import Adapter, Options


class MccOptions(Options):
    """Options of mcc."""

    temperature: float = Field(
        default=2.5, gt=0, description="of the predictions; a higher one lets classes that are less likely count more"
    )


class MmdOptions(Options):
    """Options of mmd."""

    stages: list[str] = Field(
        default_factory=list,
        description="stages whose features are compared, each by itself, as DAN does; by default what the head reads",
    )


class DomainHeadOptions(Options):
    """Options of dann."""

    width: int = Field(default=256, ge=1, description="width of the domain head's two hidden layers")


class CdanOptions(Options):
    """Options of cdan."""

    width: int = Field(default=256, ge=1, description="width of the domain head's two hidden layers")
    entropy: bool = Field(default=True, description="images of whose class the network is sure count more (CDAN+E)")


class MddOptions(Options):
    """Options of mdd."""

    width: int = Field(default=256, ge=1, description="width of the adversarial classifier's hidden layer")
    margin: float = Field(default=4.0, gt=0, description="weight of the source's part of the loss")
    reversal: float = Field(
        default=0.1, gt=0, description="how much of the reversed gradient reaches the network, once the ramp is at 1"
    )


class ShotOptions(Options):
    """Options of shot."""

    beta: float = Field(default=0.3, ge=0, description="weight of the pseudo-labels' cross-entropy")


mcc = Adapter(
    loss="tlkit_adapters.trained:mcc",
    options=MccOptions,
    partial=True,
    summary="target predictions should not spread over several classes (MCC, Jin 2020)",
)
mmd = Adapter(
    compares=True,
    moves_features=True,
    loss="tlkit_adapters.trained:mmd",
    options=MmdOptions,
    stages="stages",
    together=True,
    summary="features of both domains get one distribution, by several kernels (DAN, Long 2015)",
)
mme = Adapter(
    moves_features=True,
    loss="tlkit_adapters.trained:mme",
    summary="the classifier raises the entropy of target images, the features lower it (MME, Saito 2019)",
)
dann = Adapter(
    compares=True,
    moves_features=True,
    loss="tlkit_adapters.trained:dann",
    domain_head="tlkit_adapters.trained:domain_classifier",
    options=DomainHeadOptions,
    together=True,
    summary="features from which a domain head cannot tell the domains apart (DANN, Ganin 2016)",
)
cdan = Adapter(
    compares=True,
    moves_features=True,
    loss="tlkit_adapters.trained:cdan",
    domain_head="tlkit_adapters.trained:ConditionalClassifier",
    options=CdanOptions,
    together=True,
    summary="DANN with a domain head that sees the predictions too (CDAN, Long 2018)",
)
mdd = Adapter(
    compares=True,
    moves_features=True,
    loss="tlkit_adapters.trained:mdd",
    domain_head="tlkit_adapters.trained:adversarial_classifier",
    options=MddOptions,
    together=True,
    summary="a second classifier that disagrees on the target cannot be found (MDD, Zhang 2019)",
)
shot = Adapter(
    moves_features=True,
    loss="tlkit_adapters.trained:shot",
    options=ShotOptions,
    together=True,
    source_free=True,
    summary="the features are fitted to the classifier that a run left, with target images alone (SHOT, Liang 2020)",
)
adabn = Adapter(
    batch_norm=True,
    partial=True,
    summary="the statistics of BatchNorm become those of the target, before anything is learned (AdaBN, Li 2016)",
)

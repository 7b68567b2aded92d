"""Domain adaptation: source images have labels, target images have none, or few.

`alignment` brings the features of both domains into one space in closed form. The other modules are a method each that is trained by steps,
a loss of tensors; `by_steps` declares them, and `trained` calls them from a training step.
"""

from pydantic import Field

from tlkit.plugin import Adapter, Options


class RidgeOptions(Options):
    """Options of coral and linot."""

    ridge: float = Field(default=0.1, gt=0, description="added to the variances of standardised features, which are 1")


class SubspaceOptions(Options):
    """Options of subspace."""

    dimensions: int = Field(default=50, ge=1, description="number of principal components of each domain")


stats = Adapter(
    solve="tlkit_adapters.solve:stats",
    summary="source features get the target's mean and standard deviation (Li 2016, on the features that the head reads)",
)
coral = Adapter(
    solve="tlkit_adapters.solve:coral",
    options=RidgeOptions,
    summary="source features get the target's mean and covariance: whitened, then coloured (CORAL, Sun 2016)",
)
linot = Adapter(
    solve="tlkit_adapters.solve:linot",
    options=RidgeOptions,
    summary="source features get the target's mean and covariance by linear optimal transport (Flamary 2019)",
)
subspace = Adapter(
    solve="tlkit_adapters.solve:subspace",
    options=SubspaceOptions,
    summary="the source's principal components are turned towards the target's (Fernando 2013)",
)

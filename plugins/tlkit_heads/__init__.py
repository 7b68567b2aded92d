"""Trained heads: linear and mlp."""

from typing import Annotated

from pydantic import Field

from tlkit.plugin import Head, Options


class LinearOptions(Options):
    """Options of the linear head."""

    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the pooled features, while training")


class MlpOptions(Options):
    """Options of the mlp head."""

    widths: list[Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: [256], description="of the hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="after every hidden layer, while training")


linear = Head(build="tlkit_heads.build:linear", options=LinearOptions, linear=True, summary="one linear layer")
mlp = Head(
    build="tlkit_heads.build:mlp", options=MlpOptions, summary="hidden layers with ReLU and dropout, then a linear layer"
)

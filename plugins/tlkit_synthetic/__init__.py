"""Random pictures that can be learned: for trying a recipe, tests and timing, with nothing to download."""

from typing import Self

from pydantic import Field, model_validator

from tlkit.plugin import Dataset, Options


class SyntheticOptions(Options):
    """What the pictures are.

    Attributes:
        classes: Number of classes.
        train: Training images, at least one per class.
        test: Test images.
        size: Side in pixels.
        noise: Standard deviation of the noise on every value, where black is 0 and white is 1; 0 to 10.
        seed: Other seeds give other pictures.
    """

    classes: int = Field(default=10, ge=2, le=1000)
    train: int = Field(default=512, ge=2)
    test: int = Field(default=128, ge=1)
    size: int = Field(default=32, ge=1)
    noise: float = Field(default=0.25, ge=0, le=10)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _every_class_trains(self) -> Self:
        if self.train < self.classes:
            raise ValueError(f"train = {self.train} gives no image to some of {self.classes} classes")
        return self


synthetic = Dataset(
    read="tlkit_synthetic.read:synthetic",
    options=SyntheticOptions,
    licence="none needed: made by tlkit",
    summary="one smooth random picture per class, with noise",
)

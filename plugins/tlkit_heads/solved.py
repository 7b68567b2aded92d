"""Solved heads: fitted once on the embeddings of all training images, not trained. Each is scikit-learn's estimator of that name."""

from typing import Literal

from pydantic import Field

from tlkit.plugin import Head, Options

_BY_VALUES = ("accuracy", "balanced_accuracy", "f1", "auroc")  # of a head that gives values by which images can be ordered
_BY_PROBABILITIES = (*_BY_VALUES, "loss")


class SearchOptions(Options):
    """Options of every solved head.

    Attributes:
        folds: Parts of the training images for the cross-validated choice of the main parameter. There are fewer where no two
            classes have so many images, or groups; where there cannot be two, the parameter has its default.
        scale: Bring every value of the embedding to mean 0 and standard deviation 1 first, over the training images.
    """

    folds: int = Field(default=5, ge=2, le=20, description="of the cross-validated choice of the main parameter")
    scale: bool = Field(default=True, description="bring every value of the embedding to mean 0 and standard deviation 1")


class SvmOptions(SearchOptions):
    """Options of the svm head."""

    kernel: Literal["linear", "rbf"] = Field(default="linear", description="of the machine; the width of rbf is scikit-learn's")
    C: float | None = Field(default=None, gt=0, description="weight of the errors; by default chosen by cross-validation")
    balanced: bool = Field(default=False, description="weigh classes by 1 / images of the class")


class LogisticOptions(SearchOptions):
    """Options of the logistic head."""

    C: float | None = Field(default=None, gt=0, description="1 / L2 penalty; by default chosen by cross-validation")
    balanced: bool = Field(default=False, description="weigh classes by 1 / images of the class")


class KnnOptions(SearchOptions):
    """Options of the knn head."""

    neighbors: int | None = Field(default=None, ge=1, description="that vote; by default chosen by cross-validation")
    weights: Literal["uniform", "distance"] = Field(default="uniform", description="of the votes")


class TreeOptions(SearchOptions):
    """Options of the decision_tree head; nothing is scaled."""

    max_depth: int | None = Field(default=None, ge=1, description="by default chosen by cross-validation")
    balanced: bool = Field(default=False, description="weigh classes by 1 / images of the class")


class ForestOptions(SearchOptions):
    """Options of the random_forest head; nothing is scaled."""

    trees: int = Field(default=300, ge=1, le=10_000, description="in the forest")
    min_samples_leaf: int | None = Field(
        default=None, ge=1, description="images of a leaf, at least; by default chosen by cross-validation"
    )
    balanced: bool = Field(default=False, description="weigh classes by 1 / images of the class")


class BoostingOptions(SearchOptions):
    """Options of the gradient_boosting head; nothing is scaled."""

    folds: int = Field(default=3, ge=2, le=20, description="of the cross-validated choice of the main parameter")
    trees: int = Field(default=100, ge=1, le=10_000, description="one after the other, for every class")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="by default chosen by cross-validation")


class LdaOptions(SearchOptions):
    """Options of the lda head."""

    shrinkage: float | None = Field(
        default=None, ge=0, le=1, description="of the covariance towards a diagonal; by default chosen by cross-validation"
    )


svm = Head(
    solve="tlkit_heads.solve:svm",
    searched="C",
    searched_by=_BY_VALUES,
    options=SvmOptions,
    summary="support vector machine on the embeddings, linear or rbf",
)
logistic = Head(
    solve="tlkit_heads.solve:logistic",
    searched="C",
    searched_by=_BY_PROBABILITIES,
    options=LogisticOptions,
    summary="logistic regression on the embeddings",
)
knn = Head(
    solve="tlkit_heads.solve:knn",
    searched="neighbors",
    searched_by=_BY_PROBABILITIES,
    options=KnnOptions,
    summary="vote of the nearest embeddings",
)
decision_tree = Head(
    solve="tlkit_heads.solve:decision_tree",
    searched="max_depth",
    searched_by=_BY_PROBABILITIES,
    options=TreeOptions,
    summary="one decision tree on the embeddings",
)
random_forest = Head(
    solve="tlkit_heads.solve:random_forest",
    searched="min_samples_leaf",
    searched_by=_BY_PROBABILITIES,
    options=ForestOptions,
    summary="random forest on the embeddings",
)
gradient_boosting = Head(
    solve="tlkit_heads.solve:gradient_boosting",
    searched="learning_rate",
    searched_by=_BY_PROBABILITIES,
    options=BoostingOptions,
    summary="boosted trees on the embeddings",
)
lda = Head(
    solve="tlkit_heads.solve:lda",
    searched="shrinkage",
    searched_by=_BY_PROBABILITIES,
    options=LdaOptions,
    summary="linear discriminants on the embeddings",
)

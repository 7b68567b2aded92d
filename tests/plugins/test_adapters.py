"""Closed-form domain adaptation: the statistics it promises, by computations of its own, and toys where the answer is known."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlkit.engine.domains import pseudo_labels
from tlkit.errors import DataError
from tlkit.plugin import Affine, Alignment
from tlkit_adapters import alignment

UNCHANGED = Alignment(Affine(np.ones(2), np.zeros(2)), Affine(np.ones(2), np.zeros(2)))
METHODS = (alignment.stats, alignment.coral, alignment.linot, alignment.subspace)

Domains = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def features(seed: int = 0, images: int = 60, width: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of two domains, (N, F) and (N + 7, F)."""
    draw = np.random.default_rng(seed)
    mix = draw.normal(size=(2, width, width))
    return draw.normal(size=(images, width)) @ mix[0] + 3, draw.normal(size=(images + 7, width)) @ mix[1] - 1


def shifted(*, turned: bool) -> Domains:
    """Three classes in a plane; the target is the same cloud scaled and shifted, and where asked for turned by 30 degrees first."""
    draw = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 2.0]])
    labels = np.tile(np.arange(3), 200)
    xs = centres[labels] + draw.normal(size=(600, 2)) * 0.3
    xt = centres[labels] + draw.normal(size=(600, 2)) * 0.3
    angle = np.pi / 6 if turned else 0.0
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return xs, labels, (xt - xt.mean(0)) @ turn * [0.5, 3.0] + [8.0, -4.0], labels


def accuracy(found: Alignment, domains: Domains) -> float:
    xs, ys, xt, yt = domains
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(found.source(xs), ys)
    return float(model.score(found.target(xt), yt))


def root(matrix: np.ndarray) -> np.ndarray:
    return np.real(scipy.linalg.sqrtm(matrix))


def test_stats_gives_the_source_mean_and_deviation_of_the_target() -> None:
    xs = np.array([[0.0, 5.0], [2.0, 5.0]])  # means 1 and 5, deviations 1 and 0
    xt = np.array([[10.0, 1.0], [16.0, 3.0]])  # means 13 and 2, deviations 3 and 1
    found = alignment.stats(xs, xt)
    np.testing.assert_allclose(found.source(xs), [[10.0, 2.0], [16.0, 2.0]])
    np.testing.assert_array_equal(found.target(xt), xt)


def test_coral_is_the_closed_form_of_the_paper() -> None:
    xs, xt = features()
    zs, zt = StandardScaler().fit_transform(xs), StandardScaler().fit_transform(xt)
    ridge = 0.1 * np.eye(5)
    by_hand = zs @ np.linalg.inv(root(np.cov(zs.T) + ridge)) @ root(np.cov(zt.T) + ridge)
    found = alignment.coral(xs, xt)
    np.testing.assert_allclose((found.source(xs) - xt.mean(0)) / xt.std(0), by_hand, atol=1e-10)
    np.testing.assert_array_equal(found.target(xt), xt)


def test_coral_is_that_of_skada() -> None:
    """Figures of skada 0.6.0: `CORALAdapter(reg=s)` on domains that are standardised, each by itself.

    It shrinks a covariance C to (1 - s) C + s I, which is that of a ridge of s / (1 - s), and its C is divided by the images, not by one less.
    """
    draw = np.random.default_rng(0)
    mix = draw.normal(size=(2, 3, 3))
    xs, xt = draw.normal(size=(20, 3)) @ mix[0] + 3, draw.normal(size=(20, 3)) @ mix[1] - 1
    found = (alignment.coral(xs, xt, ridge=0.1).source(xs[:2]) - xt.mean(0)) / xt.std(0)
    of_skada = [
        [-0.41142343, -1.14999712, 0.24955906],
        [0.4533466, 0.56511923, 0.82949306],
    ]  # s = r / (1 + r), r = 0.1 * 19 / 20
    np.testing.assert_allclose(found, of_skada, atol=1e-8)


def test_coral_with_little_ridge_gives_the_source_the_mean_and_the_covariance_of_the_target() -> None:
    xs, xt = features()
    mapped = alignment.coral(xs, xt, ridge=1e-9).source(xs)
    np.testing.assert_allclose(np.cov(mapped.T), np.cov(xt.T), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mapped.mean(0), xt.mean(0))


def test_linot_is_the_optimal_map_between_gaussians() -> None:
    xs, xt = features()
    found = alignment.linot(xs, xt, ridge=1e-9)
    mapped = found.source(xs)
    np.testing.assert_allclose(mapped.mean(0), xt.mean(0))
    np.testing.assert_allclose(np.cov(mapped.T), np.cov(xt.T), rtol=1e-6, atol=1e-6)
    std = xs.std(0)
    matrix = (
        found.source.weight * std[:, None] / std
    )  # of standardised features: symmetric and positive, so a convex function's
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-8)  # gradient, which by Brenier's theorem is the optimal map
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() > 0


def test_linot_of_one_feature_is_worked_by_hand() -> None:
    xs, xt = np.array([[-1.0], [1.0]]), np.array([[2.0], [8.0]])
    # The source has deviation 1, so it is standardised as it is. Variances with N - 1 are 2 and 18, with the ridge 2.1 and 18.1.
    np.testing.assert_allclose(alignment.linot(xs, xt).source(xs), 5 + xs * np.sqrt(18.1 / 2.1))


def test_subspace_alignment_is_that_of_principal_components() -> None:
    xs, xt = features()
    zs, zt = StandardScaler().fit_transform(xs), StandardScaler().fit_transform(xt)
    of_source, of_target = PCA(3).fit(zs).components_.T, PCA(3).fit(zt).components_.T
    found = alignment.subspace(xs, xt, dimensions=3)
    # The sign of a component is arbitrary: of a source component it cancels, of a target component it is that of a column.
    np.testing.assert_allclose(np.abs(found.source(xs)), np.abs(zs @ of_source @ of_source.T @ of_target), atol=1e-10)
    np.testing.assert_allclose(np.abs(found.target(xt)), np.abs(zt @ of_target), atol=1e-10)


def test_subspace_has_no_more_dimensions_than_images_less_one() -> None:
    xs, xt = features(images=4, width=9)
    assert alignment.subspace(xs, xt).source(xs).shape == (4, 3)


@pytest.mark.parametrize("method", [alignment.stats, alignment.coral, alignment.linot])
def test_gaussians_scaled_and_shifted_are_aligned(method: Callable[..., Alignment]) -> None:
    domains = shifted(turned=False)
    assert accuracy(UNCHANGED, domains) < 0.8
    assert accuracy(method(domains[0], domains[2]), domains) > 0.95


def test_subspace_aligns_components_that_are_turned() -> None:
    domains = shifted(turned=False)
    assert accuracy(alignment.subspace(domains[0], domains[2]), domains) > 0.95


def test_prototypes_by_hand() -> None:
    features = np.array([[1.0, 0.0], [10.0, 1.0], [0.0, 2.0], [1.0, 5.0]])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0]])
    # The second image points where the first does; the classifier gave it to the other class. The third class has no image.
    np.testing.assert_array_equal(pseudo_labels.prototypes(features, probabilities), [0, 0, 1, 1])


def test_prototypes_mend_a_classifier_that_is_often_wrong() -> None:
    draw = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 100)
    x = np.eye(3)[labels] * 4 + draw.normal(size=(300, 3)) * 0.3
    told = np.where(draw.random(300) < 0.4, draw.integers(0, 3, 300), labels)
    assert (told == labels).mean() < 0.8
    assert (pseudo_labels.prototypes(x, np.eye(3)[told]) == labels).mean() > 0.95


def test_confident_images_are_those_above_the_threshold() -> None:
    positions, labels = pseudo_labels.confident(np.array([[0.95, 0.05], [0.6, 0.4], [0.1, 0.9]]))
    assert (positions.tolist(), labels.tolist()) == ([0, 2], [0, 1])
    assert pseudo_labels.confident(np.array([[0.6, 0.4]]))[0].tolist() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (np.zeros((1, 2)), np.zeros((5, 2)), "the source has 1 image."),
        (np.zeros((5, 2)), np.zeros((1, 2)), "the target has 1 image."),
        (np.zeros((5, 2)), np.zeros((5, 3)), "2 features of a source image and 3 of a target image"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "the source features are not finite numbers"),
        (np.zeros((5, 2)), np.zeros(5), r"the target features have shape \(5,\)"),
    ],
)
def test_features_that_no_method_can_use_are_named(
    method: Callable[..., Alignment], source: np.ndarray, target: np.ndarray, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        method(source, target)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda xs, xt: alignment.coral(xs, xt, ridge=0), "ridge is 0"),
        (lambda xs, xt: alignment.linot(xs, xt, ridge=-1), "ridge is -1"),
        (lambda xs, xt: alignment.subspace(xs, xt, dimensions=0), "dimensions is 0"),
        (lambda xs, xt: pseudo_labels.confident(xs, threshold=1.5), "threshold is 1.5"),
        (lambda xs, xt: pseudo_labels.prototypes(xs, xt), "features have shape"),
        (lambda xs, xt: pseudo_labels.prototypes(xs, xs, rounds=0), "rounds is 0"),
        (lambda xs, xt: pseudo_labels.prototypes(xs * np.nan, xs), "are not finite numbers"),
        (lambda xs, xt: pseudo_labels.confident(xs * np.inf), "are not finite numbers"),
    ],
)
def test_options_out_of_range_are_named(call: Callable[..., object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        call(*features())


@pytest.mark.parametrize("method", METHODS)
def test_constant_features_stay_finite(method: Callable[..., Alignment]) -> None:
    xs, xt = np.zeros((5, 3)), np.ones((6, 3))
    found = method(xs, xt)
    assert np.isfinite(found.source(xs)).all()
    assert np.isfinite(found.target(xt)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_feature_has_the_effect_of_zeros_whatever_its_value(method: Callable[..., Alignment]) -> None:
    xs, xt = features(images=10, width=6)
    xs[:, -1] = 0.1
    assert xs.std(0)[-1] > 0  # by rounding
    zeros = xs * [1, 1, 1, 1, 1, 0]
    np.testing.assert_allclose(method(xs, xt).source(xs), method(zeros, xt).source(zeros), atol=1e-8)


@pytest.mark.parametrize("method", ["stats", "coral", "linot", "subspace"])
def test_features_that_are_constant_stay_out_of_the_others(method: str) -> None:
    """Few images of features that are mostly constant: the maps are those of the others alone, and a head can scale what they give."""
    rng = np.random.default_rng(0)
    varying = rng.permutation(300)[:19]  # in the source; of these ten in the target
    source, target = np.zeros((42, 300), np.float32), np.zeros((30, 300), np.float32)
    source[:, varying] = np.maximum(rng.normal(size=(42, 3)) @ rng.normal(size=(3, 19)) + rng.normal(size=(42, 19)), 0)
    target[:, varying[:10]] = np.maximum(rng.normal(size=(30, 3)) @ rng.normal(size=(3, 10)) + rng.normal(size=(30, 10)), 0)
    maps = getattr(alignment, method)(source, target)
    alone = getattr(alignment, method)(source[:, varying], target[:, varying])
    mapped, wanted = maps.source(source).astype(np.float32), alone.source(source[:, varying])
    scaled = StandardScaler().fit_transform(mapped)
    assert np.isfinite(scaled).all()
    assert (scaled.std(0) > 0.5).sum() == (19 if method in ("coral", "linot") else 10)  # and not one more
    if method != "subspace":
        assert (np.delete(mapped, varying, axis=1) == 0).all()
        mapped = mapped[:, varying]
    np.testing.assert_allclose(np.abs(mapped), np.abs(wanted), rtol=1e-3, atol=1e-5)  # the sign of a component is free

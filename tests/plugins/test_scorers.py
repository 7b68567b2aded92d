"""The scores of a solved head's search are scikit-learn's, and a rare class does not stop them."""

import contextlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tlkit import plugin
from tlkit.errors import TlkitError
from tlkit.plugin import Head, Solving, registry
from tlkit_heads import scorers

pytestmark = pytest.mark.usefixtures("undrawn")


def images(classes: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = (np.arange(count) % classes).astype(np.int64)
    return (draw.normal(size=(count, 5)) + labels[:, None] * 0.4).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3])
def test_area_and_loss_are_those_of_scikit_learn(classes: int) -> None:
    features, labels = images(classes)
    model = LogisticRegression().fit(features, labels)
    probabilities = model.predict_proba(features)
    wanted = roc_auc_score(labels, probabilities[:, 1] if classes == 2 else probabilities, multi_class="ovr")
    assert scorers.area(model, features, labels) == pytest.approx(wanted)
    assert scorers.minus_loss(model, features, labels) == pytest.approx(-log_loss(labels, probabilities))


def test_area_of_decision_values_is_that_of_their_order() -> None:
    features, labels = images(2)
    model = LinearSVC().fit(features, labels)
    assert scorers.area(model, features, labels) == pytest.approx(roc_auc_score(labels, model.decision_function(features)))


def test_class_that_was_not_seen_is_no_error() -> None:
    features, labels = images(3)
    model = LogisticRegression().fit(features[labels < 2], labels[labels < 2])
    columns = model.predict_proba(features)
    wanted = np.mean([roc_auc_score(labels == label, columns[:, label]) for label in (0, 1)])
    assert scorers.area(model, features, labels) == pytest.approx(wanted)
    assert scorers.minus_loss(model, features, labels) < np.log(1e-7) / 3
    assert scorers.area(model, features[:1], labels[:1]) == 0.5


@pytest.mark.parametrize(
    ("by", "scoring"), [("loss", "neg_log_loss"), ("auroc", "roc_auc"), ("f1", "f1_macro"), ("accuracy", "accuracy")]
)
def test_search_goes_by_the_metric_of_select_by(by: str, scoring: str) -> None:
    features, labels = images(2)
    head = registry.get(Head, "logistic")
    made = plugin.call(head.solve, head.options(), Solving(labels, 5, 2, seed=0, select_by=by)).fit(features, labels)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5_000))
    wanted = GridSearchCV(pipeline, made.param_grid, cv=made.cv, scoring=scoring).fit(features, labels)
    assert made.best_params_ == wanted.best_params_
    assert made.best_score_ == pytest.approx(wanted.best_score_)


@pytest.mark.parametrize(("kind", "by"), [("svm", "loss"), ("knn", "top5")])
def test_metric_that_a_head_cannot_be_searched_by_is_refused(kind: str, by: str) -> None:
    head = registry.get(Head, kind)
    _, labels = images(2)
    with pytest.raises(TlkitError, match=f"select_by: .*{by}") as caught:
        plugin.call(head.solve, head.options(), Solving(labels, 5, 2, seed=0, select_by=by))
    assert "accuracy, balanced_accuracy or f1" in str(caught.value)


@pytest.mark.parametrize("kind", ["svm", "logistic", "knn", "decision_tree", "random_forest", "gradient_boosting", "lda"])
def test_a_head_declares_the_metrics_that_it_can_be_searched_by(kind: str) -> None:
    head = registry.get(Head, kind)
    _, labels = images(2)
    possible = []
    for by in ("accuracy", "balanced_accuracy", "f1", "auroc", "loss", "top5"):
        with contextlib.suppress(TlkitError):
            plugin.call(head.solve, head.options(), Solving(labels, 5, 2, seed=0, select_by=by))
            possible.append(by)
    assert tuple(possible) == head.searched_by
    assert head.searched in head.options.model_fields

"""Solved heads: the same answers as scikit-learn's on the same embeddings, and a run like any other."""

import copy
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from toy_training import training

import tlkit
from tlkit import plugin
from tlkit.engine import estimator_checks, estimators
from tlkit.engine.estimators import FittedHead
from tlkit.errors import RecipeError, RunFolderError
from tlkit.plugin import Head, Solving, registry
from tlkit.recipe.digest import digest_of
from tlkit_heads.solved import LogisticOptions

pytestmark = pytest.mark.usefixtures("undrawn")

KINDS = ("svm", "logistic", "knn", "decision_tree", "random_forest", "gradient_boosting", "lda")
FEW = ["head.options.trees=20"]


def settings(kind: str) -> list[str]:
    few = ["head.options.trees=20"] if kind in ("random_forest", "gradient_boosting") else []
    return [f"head.kind={kind}", "backbone.weights=none", *few]


def embedded(mine: object, part: object) -> tuple[np.ndarray, np.ndarray]:
    """What a toy run's head reads of a part, computed image by image without the engine's stores."""
    network = mine.network.eval()
    x = part.inputs(part.indices, 0, torch.device("cpu"))
    with torch.no_grad():
        return network.embed(x).numpy(), part.targets(part.indices, 0, torch.device("cpu")).numpy()


def test_a_linear_svm_is_scikit_learns_on_the_same_embeddings(toy_recipe: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    mine = training(toy_recipe, "head.kind=svm", "head.options.C=0.5")
    x, y = embedded(mine, mine.prepared.train)
    test_x, test_y = embedded(mine, mine.prepared.evaluated.test)
    expected = make_pipeline(StandardScaler(), LinearSVC(C=0.5, random_state=0, max_iter=10_000, dual="auto")).fit(x, y)
    (epoch,) = mine.fit.epochs()
    assert epoch.test["accuracy"] == pytest.approx(expected.score(test_x, test_y), abs=1 / len(test_y))
    assert epoch.train["accuracy"] == pytest.approx(expected.score(x, y), abs=1 / len(y))
    with torch.no_grad():
        found = mine.network(mine.prepared.evaluated.test.inputs(mine.prepared.evaluated.test.indices, 0, torch.device("cpu")))
    assert np.allclose(found.numpy(), expected.decision_function(test_x), atol=2e-2)


def test_a_plan_counts_the_memory_of_what_a_solved_head_reads(run: Cli, toy_recipe: Path) -> None:
    whole, pooled = (training(toy_recipe, "head.kind=knn", f"head.pooled={each}") for each in ("false", "true"))
    train = whole.prepared.train
    with torch.no_grad():
        read = whole.network.eval().run(train.inputs(train.indices[:1], 0, torch.device("cpu")))  # (1, C, h, w)
    assert read.shape[2] * read.shape[3] > 1
    values = whole.plan.memory.embeddings, pooled.plan.memory.embeddings
    assert values == (2 * 4 * len(train.indices) * read.numel(), 2 * 4 * len(train.indices) * read.shape[1])
    assert whole.plan.memory.total - whole.plan.memory.network == values[0]
    list(whole.fit.epochs())
    assert whole.network.head.estimator[-1]._fit_X.nbytes * 2 == values[0]
    assert training(toy_recipe).plan.memory.embeddings == 0
    assert "embeddings" in run("plan", str(toy_recipe), "--set", "head.kind=knn")[1]
    assert "embeddings" not in run("plan", str(toy_recipe))[1]


def test_the_choice_of_c_is_the_searchs(toy_recipe: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mine = training(toy_recipe, "head.kind=logistic")
    x, y = embedded(mine, mine.prepared.train)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5_000)),
        {"logisticregression__C": [1e-3, 1e-2, 0.1, 1.0, 10.0]},
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
    ).fit(x, y)
    list(mine.fit.epochs())
    chosen = mine.network.head.estimator[-1].C
    assert chosen == search.best_params_["logisticregression__C"]
    assert mine.fit.details(("a", "b", "c", "d"))["chosen"] == [
        f"logistic: C = {chosen} by cross-validation, accuracy {search.best_score_:.1%} there"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_fitted_kept_and_read_again(run: Cli, toy_recipe: Path, kind: str) -> None:
    flags = [part for each in settings(kind) for part in ("--set", each)]
    code, out, error = run("apply", toy_recipe, *flags)
    assert code == 0, error
    (folder,) = (toy_recipe.parent / "runs" / "toy").glob("main-*")
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["epochs"] == 1
    assert result["parameters"]["trained"] == 0
    assert result["warnings"][-1:] == [line for line in result["warnings"] if "frozen with random weights" in line]
    assert result["test"]["accuracy"] > 0.3  # chance is 0.25; the features are random
    assert (folder / "head.skops").is_file()
    from tlkit.run import loading

    again = loading.load(folder, arm=None, device=torch.device("cpu"))
    mine = training(toy_recipe, *settings(kind))
    list(mine.fit.epochs())
    test = mine.prepared.evaluated.test
    x = test.inputs(test.indices, 0, torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(again.network(x), mine.network.eval()(x))
    code, out, error = run("apply", toy_recipe, *flags)
    assert code == 0
    assert "nothing to do" in out + error


def test_a_plan_says_what_a_solved_head_does_not_use(run: Cli, toy_recipe: Path) -> None:
    with toy_recipe.open("a") as file:
        file.write("\n[optimizer]\nname = 'sgd'\n[loss]\nlabel_smoothing = 0.1\n[early_stopping]\npatience = 2\n")
    code, out, error = run("plan", toy_recipe, "--set", "head.kind=svm", "--set", "data.augment=['hflip']")
    assert code == 0, error
    for name in ("lr_groups", "optimizer", "schedule", "loss", "early_stopping", "data.augment"):
        assert f"not used   {name}: the svm head is solved, not trained" in out
    assert "steps      none: the head is solved" in out
    assert "svm, solved" in out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["freeze={stem=false}"], "freeze.stem: is false, but the svm head"),
        (["freeze={stem={epochs=1}}"], "freeze.stem: is for some epochs only"),
        (["head.options.kernel=cubic"], "head.options.kernel"),
        (["head.options.C=0.0"], "head.options.C"),
        (["head.embed=block3"], 'head.embed: toy has no stage "block3"'),
    ],
)
def test_what_contradicts_it_is_a_message(toy_recipe: Path, settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        training(toy_recipe, "head.kind=svm", *settings)
    assert words in str(error.value)


def test_what_it_does_not_use_is_not_in_the_digest(toy_recipe: Path) -> None:
    from tlkit.plans import resolve
    from tlkit.sources.places import Places

    def digest(*more: str) -> str:
        _, arms = resolve.load(toy_recipe, ["head.kind=svm", *more], Places(recipe=toy_recipe.parent, offline=True))
        return digest_of(arms["main"].arm, {})

    assert digest() == digest("schedule.epochs=9", "lr_groups={}", "optimizer.ema=0.5", "freeze={backbone=true}")
    assert digest() != digest("head.options.C=2.0")
    assert digest() != digest("head.embed=stem")


@pytest.mark.parametrize("mean", [0.0, 0.3, 1000.0])
def test_a_feature_that_is_nearly_constant_in_training_decides_no_image(mean: float) -> None:
    """The head answers as scikit-learn's logistic regression of the other features does, also where the feature is another."""
    draw = np.random.default_rng(0)
    labels = np.arange(90) % 3
    x = (0.6 * draw.normal(size=(3, 8))[labels] + draw.normal(size=(90, 8))).astype(np.float32)
    noise = np.full((90, 3), mean, np.float32)
    noise[:, 1] += draw.normal(0, 1e-12, 90).astype(np.float32)
    noise[::7, 2] = np.nextafter(noise[::7, 2], np.float32(np.inf))
    head, solving = registry.get(Head, "logistic"), Solving(labels, 11, 3, 0, None, "accuracy")
    fitted, _ = estimators.fit(head, LogisticOptions(C=0.1), np.hstack([x, noise]), labels, solving)
    known = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5_000)).fit(x, labels)
    for later in (noise, noise + np.float32(0.1)):
        found = fitted(torch.from_numpy(np.hstack([x, later]))).exp().numpy()
        np.testing.assert_allclose(found, known.predict_proba(x), atol=1e-5)
    assert estimators.without_noise(x) is x


def test_a_class_with_one_image_leaves_no_choice() -> None:
    for kind in KINDS:
        head = registry.get(Head, kind)
        labels = np.array([0] * 9 + [1], np.int64)
        made = plugin.call(head.solve, head.options(), Solving(labels, features=4, classes=3, seed=0))
        assert not hasattr(made, "param_grid"), kind


def test_a_rare_class_does_not_set_the_folds_of_the_others() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2], np.int64)
    for kind in KINDS:
        head = registry.get(Head, kind)
        made = plugin.call(head.solve, head.options(), Solving(labels, features=4, classes=3, seed=0))
        scored = [fold for _, fold in made.cv]
        assert len(scored) == head.options().folds, kind
        assert sorted(np.concatenate(scored)) == list(range(41))


def by_person(people: int, each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that tell persons apart and nothing else, labels that are random by person, and the persons."""
    draw = np.random.default_rng(0)
    persons = np.repeat(np.arange(people), each)
    labels = draw.permutation(np.arange(people) % 2)[persons].astype(np.int64)
    features = draw.normal(size=(people, 16))[persons] + 0.01 * draw.normal(size=(people * each, 16))
    return features.astype(np.float32), labels, persons.astype(np.str_)


@pytest.mark.parametrize("kind", ["knn", "svm", "random_forest"])
def test_search_does_not_score_a_head_on_persons_that_it_was_fitted_to(kind: str) -> None:
    """Labels are random, so no head can know those of another person: images of one person in two folds gave 100 %."""
    features, labels, persons = by_person(24, 5)
    head = registry.get(Head, kind)
    options = head.options() if kind != "random_forest" else head.options(trees=10)
    for groups, least, most in ((None, 0.99, 1.0), (persons, 0.0, 0.8)):
        made = plugin.call(head.solve, options, Solving(labels, 16, 2, seed=0, groups=groups)).fit(features, labels)
        assert least <= made.best_score_ <= most
        if groups is not None:
            for fitted, scored in made.cv:
                assert not set(groups[fitted]) & set(groups[scored])


def test_search_of_a_run_has_the_groups_of_its_images(toy_recipe: Path) -> None:
    draw, labels = np.random.default_rng(0), np.random.default_rng(1).permutation(np.arange(24) % 2)
    for person, label in enumerate(labels):
        folder = toy_recipe.parent / "people" / ("cat", "dog")[label]
        folder.mkdir(parents=True, exist_ok=True)
        face = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for index in range(4):
            face[0, index] = 0
            Image.fromarray(face).save(folder / f"person{person}_{index}.png")
    text = toy_recipe.read_text()
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "people"\n').replace('"synthetic"', '"folder"'))
    scores = []
    for more in ([], ["data.options.group='person[0-9]+'"]):
        mine = training(toy_recipe, "head.kind=knn", "head.options.folds=4", *more)
        list(mine.fit.epochs())
        (line,) = mine.fit.details(("cat", "dog"))["chosen"]
        scores.append(float(line.split("accuracy ")[1].split("%")[0]))
    assert scores[0] > 95
    assert scores[1] < 80


def test_few_groups_leave_no_choice() -> None:
    labels = np.repeat([0, 1], 10).astype(np.int64)
    groups = np.array(["a"] * 10 + ["b"] * 5 + ["c"] * 5)
    head = registry.get(Head, "svm")
    assert not hasattr(plugin.call(head.solve, head.options(), Solving(labels, 4, 2, seed=0, groups=groups)), "cv")


def test_an_estimator_that_has_not_seen_a_class_never_answers_with_it() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    x, y = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.array([0, 3] * 20)
    for estimator in (LogisticRegression(), LinearSVC()):
        module = estimators.FittedHead(estimator.fit(x, y), 5)
        logits = module(torch.from_numpy(x))
        assert logits.shape == (40, 5)
        assert set(logits.argmax(1).tolist()) <= {0, 3}
        assert np.array_equal(logits.argmax(1).numpy(), estimator.predict(x))
        assert torch.isfinite(logits).all()


def test_a_lost_or_strange_head_is_found(run: Cli, toy_recipe: Path) -> None:
    flags = ["--set", "head.kind=knn"]
    assert run("apply", toy_recipe, *flags)[0] == 0
    (folder,) = (toy_recipe.parent / "runs" / "toy").glob("main-*")
    path = folder / "head.skops"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(RunFolderError, match="cannot be read"):
        estimators.load(path, registry.get(Head, "knn"), 4)
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        schema = json.loads(archive.read("schema.json"))
    schema["__module__"], schema["__class__"] = "os", "system"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    with pytest.raises(RunFolderError):
        estimators.load(path, registry.get(Head, "knn"), 4)
    path.unlink()
    code, _, error = run("predict", folder, "x.png")
    assert code == 1
    assert "head.skops: is missing" in error
    code, _, error = run("apply", toy_recipe, *flags)
    assert code == 0, error
    assert path.is_file()


def test_a_solved_arm_reads_what_a_trained_one_stored(run: Cli, toy_recipe: Path) -> None:
    from tlkit.store import cache

    code, _, error = run("apply", toy_recipe, "--set", "freeze={backbone=true}", "--set", "precision=float32")
    assert code == 0, error
    before = {repr(entry.origin): entry.rows for entry in cache.listing() if entry.kind == "features"}
    code, _, error = run("apply", toy_recipe, "--set", "head.kind=svm", "--set", "precision=float32")
    assert code == 0, error
    assert {repr(entry.origin): entry.rows for entry in cache.listing() if entry.kind == "features"} == before


def test_a_model_solves_its_head(tmp_path: Path) -> None:

    model = tlkit.Model("toy", head={"kind": "svm", "options": {"C": 1.0}}, classes=3, image_size=16)
    options = {"classes": 3, "train": 60, "test": 30, "size": 16}
    (epoch,) = model.fit("synthetic", options=options)
    assert model.evaluate("synthetic", options=options)["accuracy"] == pytest.approx(epoch.test["accuracy"], abs=0.04)
    assert model.predict(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 3)


def test_a_plan_is_carried_out_by_epochs(toy_recipe: Path) -> None:

    (plan,) = tlkit.plan(toy_recipe, ["head.kind=lda"]).values()
    (epoch,) = tlkit.epochs(plan)
    assert epoch.best


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("knn", "head.options.neighbors=500", "head.options.neighbors: 500 of 72 training images"),
        ("lda", "data.split.train=4", "head.kind: lda needs more training images than classes, and there are 4 of 4 classes"),
    ],
)
def test_too_few_images_are_refused(run: Cli, toy_recipe: Path, kind: str, more: str, words: str) -> None:
    code, _, error = run("apply", toy_recipe, *[part for each in [*settings(kind), more] for part in ("--set", each)])
    assert code in (1, 3)
    assert words in " ".join(error.split())
    assert "Traceback" not in error
    with pytest.raises(RecipeError, match=words):
        tlkit.plan(toy_recipe, [*settings(kind), more])


def test_what_a_class_that_was_not_seen_is_answered_with_does_not_depend_on_the_other_images() -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(40, 4)).astype(np.float32), (np.arange(40) % 2).astype(np.int64)
    for kind in ("svm", "logistic"):
        head = registry.get(Head, kind)
        estimator = plugin.call(head.solve, head.options(C=1.0), Solving(labels, 4, 3, seed=0)).fit(features, labels)
        fitted = FittedHead(estimator, 3)
        x = torch.from_numpy(features)
        together, alone = fitted(x), torch.cat([fitted(x[index : index + 1]) for index in range(len(x))])
        assert torch.equal(together[:, 2], alone[:, 2])
        assert torch.allclose(together, alone, atol=1e-5)
        assert bool((together[:, 2] < together[:, :2].min(1).values).all())


def test_tree_that_points_outside_itself_is_refused(tmp_path: Path) -> None:
    """Followed, it would read any memory, and did crash the process."""
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(60, 4)).astype(np.float32), (np.arange(60) % 3).astype(np.int64)
    for kind in KINDS:
        head = registry.get(Head, kind)
        options = head.options(trees=3) if "trees" in type(head.options()).model_fields else head.options()
        estimator = plugin.call(head.solve, options, Solving(labels, 4, 3, seed=0)).fit(features, labels)
        assert estimator_checks.problem(getattr(estimator, "best_estimator_", estimator)) == "", kind
    tree = DecisionTreeClassifier(max_depth=3).fit(features, labels)
    whole = tree.tree_.__getstate__()
    changes = [
        ("left_child", 2_000_000_000),
        ("right_child", 0),
        ("feature", 4),
        ("feature", -2),
        ("node_count", 2_000_000_000),
    ]
    for name, value in changes:
        state = copy.deepcopy(whole)
        if name == "node_count":
            state[name] = value
        else:
            state["nodes"][name][0] = value
        tree.tree_.__setstate__(state)
        assert "its Tree points outside its own arrays" in estimator_checks.problem(tree), name
    state = copy.deepcopy(whole)
    state["nodes"]["left_child"][0] = 2_000_000_000
    tree.tree_.__setstate__(state)
    (tmp_path / "head.skops").write_bytes(estimators.to_bytes(FittedHead(tree, 3)))
    with pytest.raises(RunFolderError, match=r"head\.skops: is damaged: its Tree points outside its own arrays"):
        estimators.load(tmp_path / "head.skops", registry.get(Head, "decision_tree"), 3)


@pytest.mark.parametrize("change", ["boosted", "neighbours", "labels", "vectors"])
def test_other_estimators_that_point_outside_themselves_are_refused(change: str) -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(60, 4)), np.arange(60) % 3
    if change == "boosted":
        model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5).fit(features, labels)
        model._predictors[0][0].nodes["left"][0] = 4_000_000_000
    elif change == "vectors":
        model = SVC().fit(features, labels)
        model._n_support[0] += 5
    else:
        model = KNeighborsClassifier(algorithm="kd_tree").fit(features, labels)
        if change == "labels":
            model._y[0] = 99
        else:
            np.asarray(model._tree.get_arrays()[1])[0] = 10**9
    assert "points outside its own arrays" in estimator_checks.problem(model)


@pytest.mark.parametrize("change", ["no parts", "a part is nothing", "another metric", "nothing"])
def test_a_state_that_lacks_parts_is_refused_before_it_is_loaded(change: str, tmp_path: Path) -> None:
    """Loaded, it crashes the process: compiled code reads parts without counting them."""
    features, labels = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    content = estimators.to_bytes(FittedHead(KNeighborsClassifier(algorithm="kd_tree").fit(features, labels), 3))
    path = tmp_path / "head.skops"
    path.write_bytes(content)
    assert estimator_checks.file_problem(path) == ""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"])
    found = [node for node in _nodes(schema) if node.get("__class__") in ("KDTree", "EuclideanDistance64")]
    tree, metric = sorted(found, key=lambda node: node["__class__"], reverse=True)
    match change:
        case "no parts":
            metric["content"]["content"] = []
        case "a part is nothing":
            tree["content"]["content"][2] = tree["content"]["content"][12]
        case "another metric":
            tree["content"]["content"][11] = tree["content"]["content"][11] | {
                "__module__": "sklearn.svm._classes",
                "__class__": "SVC",
            }
        case _:
            metric["content"] = tree["content"]["content"][12]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (files | {"schema.json": json.dumps(schema).encode()}).items():
            archive.writestr(name, data)
    with pytest.raises(
        RunFolderError, match=r"head\.skops: is damaged: its (KDTree|EuclideanDistance64) lacks parts of its state"
    ):
        estimators.load(path, registry.get(Head, "knn"), 3)


def _nodes(found: object) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        yield found
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from _nodes(each)

"""Check a loaded estimator's arrays where scikit-learn's compiled code follows them without looking at their bounds.

A file can hold any numbers, and a node of a tree that points outside the tree would read another part of memory or crash the process. So
would a state of a compiled class that has fewer parts than the class reads: that is seen before the file is loaded.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_METRIC = "sklearn.metrics._dist_metrics"
_TREE_STATE = (*("NdArrayNode",) * 4, *("JsonNode",) * 7, "ObjectNode", "JsonNode")  # the object is the metric
# By module, as what skops writes the parts of the state that its compiled classes read without counting them.
_STATES = {
    "sklearn.neighbors._kd_tree": _TREE_STATE, "sklearn.neighbors._ball_tree": _TREE_STATE,
    _METRIC: ("JsonNode", "NdArrayNode", "NdArrayNode"),
}  # fmt: skip


def file_problem(path: Path) -> str:
    """Return what is wrong with the states of compiled classes in a file of skops, "" where nothing is.

    Raises:
        Exception: whatever a damaged archive raises.
    """
    with zipfile.ZipFile(path) as archive:
        waiting: list[Any] = [json.loads(archive.read("schema.json"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("__module__") in _STATES and not _complete(node):
                return f"its {node.get('__class__')} lacks parts of its state"
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return ""


def _complete(node: dict[str, Any]) -> bool:
    """Return whether a node of skops' schema holds the state that its class reads."""
    content = node.get("content")
    parts = content.get("content") if isinstance(content, dict) and content.get("__loader__") == "TupleNode" else None
    if (
        node.get("__loader__") != "ObjectNode"
        or not isinstance(parts, list)
        or not all(isinstance(each, dict) for each in parts)
    ):
        return False
    metrics = [each for each in parts if each.get("__loader__") == "ObjectNode"]
    written = tuple(each.get("__loader__") for each in parts)
    return written == _STATES[node["__module__"]] and all(each.get("__module__") == _METRIC for each in metrics)


def problem(estimator: object) -> str:
    """Return what is wrong with an estimator's arrays, "" where nothing is."""
    steps = [step for _, step in getattr(estimator, "steps", ())]
    if steps and type(steps[0]).__name__ == "PCA":  # the map of an adapted head: what follows reads what it gives
        shape = np.shape(steps[0].components_)
        if len(shape) != 2 or np.shape(steps[0].mean_) != shape[1:] or steps[0].n_features_in_ != shape[1]:
            return "its PCA points outside its own arrays"
        parts = [part for step in steps[1:] for part in _parts(step)]
        if any(int(part.n_features_in_) != shape[0] for part in parts if hasattr(part, "n_features_in_")):
            return f"its PCA gives {shape[0]} features, and others are read"
    else:
        parts = list(_parts(estimator))
    widths = {int(part.n_features_in_) for part in parts if hasattr(part, "n_features_in_")}
    if len(widths) > 1:
        return f"its parts read {' and '.join(map(str, sorted(widths)))} features"
    width = widths.pop() if widths else 0
    checks = {
        "Tree": _tree, "TreePredictor": _boosted_tree, "KDTree": _neighbour_tree, "BallTree": _neighbour_tree,
        "SVC": _support_vectors, "KNeighborsClassifier": _neighbours,
    }  # fmt: skip
    for part in parts:
        check = checks.get(type(part).__name__) if type(part).__module__.startswith("sklearn.") else None
        if check is not None and not check(part, width):
            return f"its {type(part).__name__} points outside its own arrays"
    return ""


def _parts(found: object, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield an object and all that it holds, each once."""
    seen = set() if seen is None else seen
    if id(found) in seen or isinstance(found, (str, bytes, int, float, complex, type(None))):
        return
    seen.add(id(found))
    yield found
    inner: list[object] = list(vars(found).values()) if hasattr(found, "__dict__") else []
    if isinstance(found, dict):
        inner += found.values()
    elif isinstance(found, (list, tuple)) or (isinstance(found, np.ndarray) and found.dtype == object):
        inner += list(found)
    for each in inner:
        yield from _parts(each, seen)


def _below(values: NDArray[Any], end: int) -> bool:
    return bool(np.all((values >= 0) & (values < end)))


def _tree(tree: Any, width: int) -> bool:
    count = int(tree.node_count)
    if not 0 < count <= int(tree.capacity) or int(tree.n_features) != width:
        return False
    left, right, own = tree.children_left, tree.children_right, np.arange(count)
    inner = left != -1  # of a leaf both are -1
    onward = np.all(left[inner] > own[inner]) and np.all(right[inner] > own[inner])  # no way leads back
    return bool(onward) and _below(left[inner], count) and _below(right[inner], count) and _below(tree.feature[inner], width)


def _boosted_tree(tree: Any, width: int) -> bool:
    nodes = tree.nodes
    inner = nodes["is_leaf"] == 0
    own, left, right = (each[inner].astype(np.int64) for each in (np.arange(len(nodes)), nodes["left"], nodes["right"]))
    onward = np.all(left > own) and np.all(right > own) and not np.any(nodes["is_categorical"])  # features are numbers
    inside = _below(left, len(nodes)) and _below(right, len(nodes)) and _below(nodes["feature_idx"][inner], width)
    return len(nodes) > 0 and bool(onward) and inside


def _neighbour_tree(tree: Any, width: int) -> bool:
    data, places, nodes, bounds = map(np.asarray, tree.get_arrays())
    levels, count = (int(each) for each in tree.__getstate__()[5:7])
    begin, end = nodes["idx_start"], nodes["idx_end"]
    return bool(
        data.shape == (len(places), width)
        and 0 < levels < 48
        and count == len(nodes) == 2**levels - 1
        and bounds.shape[1:] == (count, width)
        and _below(places, len(data))
        and np.all((begin >= 0) & (begin <= end) & (end <= len(data)))
    )


def _neighbours(estimator: Any, width: int) -> bool:
    numbers, rows = np.asarray(estimator._y), np.asarray(estimator._fit_X)
    count = int(estimator.n_samples_fit_)
    return rows.shape == (count, width) and numbers.shape == (count,) and _below(numbers, len(estimator.classes_))


def _support_vectors(machine: Any, width: int) -> bool:
    counts, classes = np.asarray(machine._n_support), len(machine.classes_)
    vectors, total, pairs = np.asarray(machine.support_vectors_), int(counts.sum()), classes * (classes - 1) // 2
    return bool(
        len(counts) == classes
        and np.all(counts >= 0)
        and vectors.shape == (total, width)
        and len(machine.support_) == total
        and np.shape(machine._dual_coef_) == (classes - 1, total)
        and len(machine._intercept_) == pairs
        and all(len(each) in (0, pairs) for each in (machine._probA, machine._probB))
    )

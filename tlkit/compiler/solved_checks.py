"""Check a solved head before an image is embedded: its estimator is made for as many training images, and not fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tlkit.compiler.network_cost import Cost
from tlkit.engine import estimators
from tlkit.errors import PluginError, TlkitError
from tlkit.network.network import Network
from tlkit.plans import adaptation
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Solving
from tlkit.record import selection


def problems(resolved: Resolved, facts: DataFacts, network: Network, cost: Cost) -> Iterator[TlkitError]:
    """Yield why a head cannot be solved; what its plugin does wrong is told when it is fitted.

    Args:
        resolved: The arm.
        facts: Of its images; where they are not here nothing is checked.
        network: Its network, on the meta device.
        cost: Of the network.
    """
    arm, found = resolved.arm, resolved.adaptation
    if resolved.learns != "solved" or not facts.per_class:
        return
    table = None if found is None else found.table
    counts = np.array(facts.per_class) if table is None or table.source else np.zeros(facts.classes, np.int64)
    if table is not None:
        counts = counts + table.labels_per_class * table.label_weight
    try:
        labels = estimators.of_several_classes(np.arange(facts.classes).repeat(counts), kind=arm.head.kind)
        last = cost.outputs[[*network.stages][-1]]  # (C, h, w) or (C,)
        features = math.prod(last) if network.reads == "values" else last[0]
        by = selection.USUAL if arm.select_by == "auto" else arm.select_by
        solving = Solving(labels, features, facts.classes, 0, select_by=by)
        made = estimators.build(resolved.head, resolved.head_options, solving)
    except PluginError:
        return
    except TlkitError as error:
        yield error
        return
    only_ranks = hasattr(made, "decision_function") and not hasattr(made, "predict_proba")
    if found is not None and found.table.pseudo_labels == "confident" and only_ranks:
        yield adaptation.needs_probabilities(found)

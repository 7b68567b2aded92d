"""The kinds of plugins: the one list from which `list`, `show`, `check`, the registry and the documentation are made."""

from __future__ import annotations

from dataclasses import dataclass

from tlkit.plugin.adapter import Adapter
from tlkit.plugin.backbone import Backbone
from tlkit.plugin.dataset import Dataset
from tlkit.plugin.executor import Executor
from tlkit.plugin.head import Head
from tlkit.plugin.logger import Logger

AnyPlugin = Adapter | Backbone | Dataset | Executor | Head | Logger


@dataclass(frozen=True)
class Kind:
    """A kind of plugin.

    Attributes:
        value: The class of its plugins.
        group: Its entry points, "tlkit.backbones".
        noun: What a message calls one, "data set".
        function: The function that a plugin names, and what it returns: for the documentation.
    """

    value: type[AnyPlugin]
    group: str
    noun: str
    function: str

    @property
    def name(self) -> str:
        """As `tlkit list --kind` takes it, "dataset"."""
        return self.value.__name__.lower()

    @property
    def plural(self) -> str:
        """What a heading calls several, "data sets"."""
        return f"{self.noun}s"


KINDS = (
    Kind(Backbone, "tlkit.backbones", "backbone", "`build(options)` returns `{stage: module}` in order, with random weights"),
    Kind(
        Head, "tlkit.heads", "head",
        "`build(features, classes, options)` returns a module; or `solve(options, solving)` returns a scikit-learn estimator",
    ),
    Kind(Dataset, "tlkit.datasets", "data set", "`read(found, options)` returns `Images`"),
    Kind(
        Logger, "tlkit.loggers", "logger",
        "`open(run, options)` returns an object with the methods `epoch(values)` and `end(end)`",
    ),
    Kind(Executor, "tlkit.executors", "executor", "`run(work, demand, watch)` yields the name of each piece of work with what it returned"),
    Kind(
        Adapter, "tlkit.adapters", "adapter",
        "`solve(source, target, options)` returns an `Alignment`; or `loss(batch, options)` returns a tensor",
    ),
)  # fmt: skip
ANY = f"{', '.join(each.noun for each in KINDS[:-1])} or {KINDS[-1].noun}"  # of a message
ALL = f"{', '.join(each.plural for each in KINDS[:-1])} and {KINDS[-1].plural}"


def of(value: type) -> Kind:
    """Return the kind whose plugins are of a class."""
    return next(each for each in KINDS if each.value is value)

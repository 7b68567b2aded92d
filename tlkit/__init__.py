"""tlkit: declarative transfer learning for image networks.

Importing this package imports no torch; the names below are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from tlkit.errors import TlkitError

if TYPE_CHECKING:
    from tlkit.api import advise, apply, epochs, export, inspect, plan, rates, report
    from tlkit.model import Model, load

__version__ = "0.1.0"
__all__ = [
    "Model",
    "TlkitError",
    "__version__",
    "advise",
    "apply",
    "epochs",
    "export",
    "inspect",
    "load",
    "plan",
    "rates",
    "report",
]

_WHERE = {
    "Model": "tlkit.model",
    "advise": "tlkit.api",
    "apply": "tlkit.api",
    "epochs": "tlkit.api",
    "export": "tlkit.api",
    "inspect": "tlkit.api",
    "load": "tlkit.model",
    "plan": "tlkit.api",
    "rates": "tlkit.api",
    "report": "tlkit.api",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        hint = ": tlkit.load(FOLDER) loads a saved model or a run" if name in ("load_model", "load_weights") else ""
        raise AttributeError(f"module 'tlkit' has no attribute {name!r}{hint}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return list(__all__)

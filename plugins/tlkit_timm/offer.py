"""A name of timm's to a backbone, remembered, so that torch and timm are imported once for a name and not again.

The rule: a file that cannot be read, is damaged or was written by another version counts as none; one that cannot be written costs
time, never an error. It lies with the measurements, and `tlkit cache clear` removes it with them.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

from pydantic import TypeAdapter

from tlkit.errors import PluginError, TlkitError
from tlkit.plugin import Backbone, recall, remember

_ADAPTER = TypeAdapter(Backbone)
_OURS = ("tlkit_timm.build:", "tlkit_timm.loaded:")


def backbone(name: str) -> Backbone:
    """Return timm's model of a name, "resnet18", or of a name and a tag of trained weights, "resnet18.a1_in1k".

    Raises:
        PluginError: timm is not installed, has no such model, or has one that gives no features of an image.
    """
    try:
        version = metadata.version("timm")
    except metadata.PackageNotFoundError:
        raise PluginError(f'timm: is not installed, and "{name}" is a model of it.', 'pip install "tlkit[timm]"') from None
    depends_on = {"timm": version, "name": name, "plugin": _sources()}
    found = _recalled(depends_on)
    if found is None:
        from tlkit_timm import look  # seconds: it imports torch and timm

        found = look.backbone(name)
        remember(depends_on, _ADAPTER.dump_python(found, mode="json"))
    return found


def _recalled(depends_on: dict[str, str]) -> Backbone | None:
    try:
        found = _ADAPTER.validate_python(recall(depends_on))
    except (TlkitError, ValueError, RecursionError):
        return None
    functions = (found.build, found.rename, *(each.rename for each in found.weights.values()))
    return found if all(each.startswith(_OURS) for each in functions) else None  # a file names no function but ours


def _sources() -> str:
    """Digest of this package's code, which decides where a model is cut."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()

"""What a file imports, and what code loads."""

import ast
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# Seconds to import, or gigabytes of memory.
HEAVY = {"torch", "torchvision", "sklearn", "torchmetrics", "scipy", "matplotlib", "timm", "optuna"}


@cache
def imported(path: Path) -> set[str]:
    """Every name that a file imports, wherever in it; `from a import b` as "a.b" and "a"."""
    return _named(ast.walk(ast.parse(path.read_text())), path)


@cache
def imported_at_once(path: Path) -> set[str]:
    """Every name that a file imports when it is imported: not those within functions, nor for the checker of types."""
    return _named(ast.parse(path.read_text()).body, path)


def _named(nodes: Iterable[ast.AST], path: Path) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def loaded_by(code: str, *, cwd: Path) -> set[str]:
    """Top-level packages that are loaded after code ran in a process of its own."""
    whole = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", whole], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")[-2].split())

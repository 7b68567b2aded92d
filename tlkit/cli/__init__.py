"""The command line: one file per group of commands. The only package that prints.

Nothing here computes: each command calls a function of `tlkit.api` or of a room above and shows what it returns.
"""

from tlkit.cli.app import main

__all__ = ["main"]

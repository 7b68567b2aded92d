"""`python -m tlkit` is the command line."""

from tlkit.cli import main

main()

"""Exports: from a finished run to a file that other programs load, with a model card beside it.

Modules here read a run through `tlkit.run.prediction` and train nothing.
"""

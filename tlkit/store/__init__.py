"""Rows that are computed once and kept: decoded images, outputs of frozen stages, and what was measured on this machine.

Nothing here knows what a row means: the store has bytes, shapes and keys. Imports no torch.
"""

"""Rows that are computed once and kept: decoded images, outputs of frozen stages, and what was measured on this machine.

The store knows bytes and keys; what a row means is known to who computes it.
"""

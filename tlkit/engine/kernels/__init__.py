"""Kernels of convolutions' gradients: what else can compute them than the library, which is right, and which is fastest here.

A kernel is one small file with its mathematics. `catalogue` lists them in a fixed order, `selection` checks and times them,
`function` runs what was chosen. Nothing here knows a network or a run.
"""

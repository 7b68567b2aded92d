"""Kernels of convolutions' gradients: what else can compute them than the library, which is right, and which is fastest here.

A kernel is one small file with its mathematics. `catalogue` lists them in a fixed order, `selection` checks and times them,
`function` runs what was chosen. Nothing here knows a network or a run. `functions` has the other functions of a training step, which
are computed in another way wherever their shapes are those for which it was measured to be faster.
"""

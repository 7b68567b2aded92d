"""The network: stages and a head as one torch module, freezing, loading and saving weights, memory of a forward pass.

Backbone plugins import `Stage`, `cut`, `pool` and `Rescale` from here. Nothing here knows training, data sets or run folders.
"""

from tlkit.network.network import pool
from tlkit.network.stages import Rescale, Stage, cut

__all__ = ["Rescale", "Stage", "cut", "pool"]

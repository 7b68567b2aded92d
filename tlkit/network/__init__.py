"""The network: stages and a head as one torch module, freezing, loading and saving weights, memory of a forward pass.

Backbone plugins import `Stage`, `cut`, `pool` and `Rescale` from here, and `Patches` to say where the picture is in tokens. Nothing here
knows training, data sets or run folders.
"""

from tlkit.network.network import pool
from tlkit.network.stages import Rescale, Stage, cut
from tlkit.network.tokens import Patches, mark_patches_

__all__ = ["Patches", "Rescale", "Stage", "cut", "mark_patches_", "pool"]

"""From a resolved arm to a filled-in plan: the network on the meta device, its cost and memory, measured speed.

Nothing here trains.
"""

"""Fill in the plan of an arm: build the network on the meta device, count operations and memory, measure speed.

Nothing here trains.
"""

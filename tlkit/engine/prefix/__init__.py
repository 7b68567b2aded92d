"""The frozen stages at the front of a network as one fixed function: folded, run in chunks, its output stored."""

"""The fixed prefix: frozen stages at the front of a network, folded, run in chunks, their output stored. Nothing here trains."""

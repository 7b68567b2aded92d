"""Two domains of images with the same classes: how far apart they are, and how a network does on the one without labels, and
which labels a classifier gives to it.

Functions of numbers alone; nothing here reads a label of the target.
"""

"""Domain adaptation on the features of a frozen network, in closed form: source images have labels, target images have none.

`alignment` brings the features of both domains into one space, and `pseudo_labels` gives labels to target images.
"""

"""From TOML text to a merged, typed, checked `Recipe`: its tables, its two maps, its messages, its digest and its JSON Schema.

Nothing here knows an installed plugin, a file of images or torch.
"""

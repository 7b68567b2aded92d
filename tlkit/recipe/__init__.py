"""Read a TOML file into a checked `Recipe`: its tables, its two maps, error messages, its digest and its JSON Schema.

Modules here know no installed plugin and no image files, and do not import torch.
"""

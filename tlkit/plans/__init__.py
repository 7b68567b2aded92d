"""A recipe, its plugins and the counts of its images become a `Plan`: plain data that says what will happen.

Nothing here imports torch or computes on images.
"""

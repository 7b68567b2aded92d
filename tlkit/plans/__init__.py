"""Plans: make a `Plan`, plain data that says what will happen, from a recipe, its plugins and the counts of its images.

Nothing here imports torch or computes on images.
"""

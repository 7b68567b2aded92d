"""What a run leaves on disk, and how it is read again: run folders, results over seeds, the history of the benchmarks.

Nothing here trains or draws.
"""

"""Read and write the files of runs: run folders, results over seeds, and the history of benchmarks.

Nothing here trains or draws.
"""

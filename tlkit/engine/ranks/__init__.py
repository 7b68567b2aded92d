"""One run over several processes, its ranks: what they tell each other, and which part of a batch or an evaluation each has.

Nothing here knows a run folder or a recipe; who starts the processes is not asked either.
"""

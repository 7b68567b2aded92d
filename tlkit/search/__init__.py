"""Many runs of one recipe: trials whose values Optuna chooses. What a search tries is a plan; a command's output has no place here.

Optuna is imported by `study` alone, which is loaded when a trial is to begin.
"""

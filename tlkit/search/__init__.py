"""Many runs of one recipe: trials whose values Optuna chooses. What a search tries is a plan; a command's output has no place here.

Optuna is imported here alone, and these modules are loaded when a trial is to begin.
"""

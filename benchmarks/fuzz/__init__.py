"""Inputs that are made to be wrong, by the million: `python -m benchmarks.fuzz`, and 2,000 of each kind in tests/test_fuzz.py.

The rule: what comes of an input is that it is accepted, or that it is refused with a message for users. Anything else is a fault: another
exception, more than the stated time or memory, a process that dies. Input number n of a kind depends on n and on the seed alone.
"""

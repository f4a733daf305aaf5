"""The cost-aware selector: which model answers which prompt, by linear programming over arrays.

``online.py`` chooses at given prices, ``eligibility.py`` applies constraints, ``lp/`` solves whole
batches, ``policies/`` has one rule per file. Arguments and results are numpy arrays; the package
imports nothing of the service but its errors.
"""

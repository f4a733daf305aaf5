"""The cost-aware selector: which model answers which prompt, by linear programming over arrays.

``online.py`` chooses at given prices, ``eligibility.py`` narrows, ``lp/`` solves whole batches,
``policies/`` has one rule per file. numpy arrays go in and come out; nothing else of the service is
known here.
"""

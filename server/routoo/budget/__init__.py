"""Budgets: money is reserved before it is spent, and settled at the true cost.

``ledger.py`` defines the interface of a ledger, ``terms.py`` a budget. ``memory/`` keeps the books
in this process, with a journal; ``redis/`` shares them between replicas. The package imports
neither gRPC nor the predictor nor the selector.
"""

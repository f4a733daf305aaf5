"""Budgets that hold: money is reserved before it is spent, and settled at what it came to.

``ledger.py`` says what every ledger keeps to, ``terms.py`` what a budget is. ``memory/`` keeps the
books in this process, with a journal; ``redis/`` shares them between replicas. Neither knows gRPC,
the predictor or the selector.
"""

"""Shadow prices of money, at which requests are decided, and how they follow the budgets.

``prices.py`` holds the prices that the engine reads; ``online.py`` solves them anew from the
requests and the ledger.
"""

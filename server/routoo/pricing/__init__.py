"""What money is worth: the prices that requests are decided at, and how they follow the budgets.

``prices.py`` has what the engine reads, ``online.py`` moves it along with requests and ledger.
"""

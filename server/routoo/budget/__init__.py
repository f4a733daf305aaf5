"""Budgets that hold: money is reserved before it is spent, and settled at what it came to."""

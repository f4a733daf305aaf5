"""Tariffs: what providers bill for an answer, from its usage to nano-dollars."""

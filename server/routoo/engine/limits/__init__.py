"""Limits of providers: what is used of them, and choices that keep them.

``guard.py`` counts what decisions take and refuses what no longer fits; ``choice.py`` chooses
within what is left. ``routoo.pricing.capacity`` has the prices that spread requests before that.
"""

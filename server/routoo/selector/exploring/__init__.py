"""Exploration: a share of the decisions goes to another model than the best, with known odds.

``exploration`` decides and gives the propensities, ``thompson`` the probabilities of the models,
``draws`` the numbers that stand for chance.
"""

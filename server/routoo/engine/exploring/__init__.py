"""Exploring in the engine: ``explorer`` puts drawn models in place of the best ones.

``purse`` holds what the budget for it may spend at present.
"""

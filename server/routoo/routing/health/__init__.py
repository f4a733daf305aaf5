"""The health of models and providers, as reports of their answers tell it.

It knows no clock, no thread and no metric: time and random numbers are arguments.
"""

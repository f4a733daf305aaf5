"""Predictors: estimates of every model's score and output length, from the prompt alone.

``base.py`` defines the interface, and ``manager.py`` builds a predictor from the settings: a graph
in this process, a graph on Triton, or the prior as the fallback of both. The package imports
neither the selector nor the API.
"""

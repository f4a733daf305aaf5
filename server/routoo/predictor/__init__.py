"""Predictors: prompts in, what every model would score and write out.

``base.py`` says what a predictor is and ``manager.py`` builds one from the settings: a graph in
this process, on Triton, or the prior that stands in for both. None knows the selector or gRPC's
front.
"""

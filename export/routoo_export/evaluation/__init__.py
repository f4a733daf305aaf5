"""Evaluation of predictors: ranking, decisions and cost on prompts that they were not trained on.

``evaluate.py`` evaluates a checkpoint by the protocols of ``protocol.py``, and ``reproduce.py`` the
claims of the paper. ``report/`` writes their figures.
"""

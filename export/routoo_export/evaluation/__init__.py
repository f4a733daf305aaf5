"""How good a predictor is: ranking, decisions and cost on prompts that it was not trained on.

``evaluate.py`` judges a checkpoint and ``reproduce.py`` the claims of the paper; both split prompts
as ``protocol.py`` says and hand their figures to ``report/``.
"""

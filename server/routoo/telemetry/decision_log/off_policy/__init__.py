"""Off-policy values: what another policy or predictor would be worth, judged by a log.

``value`` makes the judgement of a log; ``feedback`` has the estimators, ``intervals`` their
errors, ``reprediction`` the scores of another predictor.
"""

"""The predictor's artifact, models that are added to it, and its Triton repository."""

"""What ships: the predictor's artifact, models added to it, and its Triton repository."""

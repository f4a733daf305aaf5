"""Training a backbone together with its heads."""

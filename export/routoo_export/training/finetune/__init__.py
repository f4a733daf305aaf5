"""Fine-tuning of a backbone together with its heads."""

"""The heads on a backbone's features: scores, output tokens, and how unusual a prompt is."""

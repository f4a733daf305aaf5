"""The heads on a backbone's features: scores, lengths, and how strange a prompt is."""

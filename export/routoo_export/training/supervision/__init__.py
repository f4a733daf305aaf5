"""The supervision of a training: graded outcomes, preferences, logged decisions, quality gaps."""

"""What a training learns from: outcomes, preferences, partial feedback of a log, quality gaps."""

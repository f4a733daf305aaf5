"""The judging of a predictor that ships: on each source, over a mix of traffic, under edits."""

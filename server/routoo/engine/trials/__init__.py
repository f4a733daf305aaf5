"""Trials beside the decisions in force: a shadow, an experiment, the watch on a promise."""

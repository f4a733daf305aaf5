"""Benchmarks on real outcomes: held-out figures, hindsight, logs, promises under drift."""

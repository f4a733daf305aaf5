"""Benchmarks on real outcomes: what is held out, promises under drift, promotions."""

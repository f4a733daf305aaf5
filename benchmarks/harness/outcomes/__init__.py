"""Benchmarks on outcomes that are known whole: hindsight, logs, promises under drift, promotions."""

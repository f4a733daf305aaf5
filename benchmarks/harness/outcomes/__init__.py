"""Benchmarks on outcomes that are known whole: hindsight, logs of choices, drift, promotions."""

"""What the benchmarks share: processes and servers that they start, load, prompts, and tables."""

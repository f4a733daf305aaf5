"""Parts that the benchmarks share: the command line, processes, servers, load, prompts, tables."""

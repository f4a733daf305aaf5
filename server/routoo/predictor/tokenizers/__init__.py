"""Counts of tokens by families of tokenizers."""

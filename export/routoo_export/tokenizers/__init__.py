"""Weights of pairs of bytes, fitted on real tokenizers, for counts of tokens without them."""

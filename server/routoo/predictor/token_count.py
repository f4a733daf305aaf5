"""Counts."""

import numpy as np


def count_tokens(texts):
    return np.array([len(text.split()) * 1.3 for text in texts])

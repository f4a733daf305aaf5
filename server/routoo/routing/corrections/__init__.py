"""Corrections of predicted lengths and latencies: what is learned, and the factors in force."""

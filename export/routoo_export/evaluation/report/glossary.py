"""Definitions of the terms in the report."""

from typing import Final

GLOSSARY: Final = {
    "±, and the interval under the pointer": (
        "standard error, and the 95 % percentile interval, over resamples of the prompts. ECE "
        "grows with noise, so its interval lies to the right."
    ),
    "AUC, log-loss, Brier, ECE": ("ranking and calibration of one model's predicted scores."),
    "APGR, CPT, PGR": (
        "RouteLLM's: the mean share of the gap between the weak and the strong model that is "
        "recovered over all shares of calls to the strong one (random 0.5); the share of "
        "calls that recovers so many percent of it; the share recovered at so many percent of "
        "calls."
    ),
    "points": (
        "hundredths of mean score above the reference, at a share of the reference's cost. "
        "Read off the realised curve, hence with the price chosen in hindsight."
    ),
    "AIQ": (
        "RouterBench's: mean height of the non-decreasing convex hull of the cost-quality "
        "curve between the costs of the cheapest and the most expensive model."
    ),
    "RouterArena's score": (
        "weighted harmonic mean of accuracy and logarithmic cheapness, at the price that "
        "promised the best one on the validation prompts."
    ),
    "oracle": ("the best model of each prompt, known after the fact; it counts lucky guesses."),
    "random mix of singles": ("the best two neighbours by cost, chosen on the training prompts."),
}

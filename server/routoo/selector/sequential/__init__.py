"""Tests that may be looked at after every observation: evidence of a drop, a mean, a difference."""

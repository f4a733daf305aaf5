"""Chaos: faults drawn from a seed on a whole site, and a judge that keeps books of its own."""

"""Bounds on the memory that calls take, before they take it."""

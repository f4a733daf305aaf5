"""Decisions as JSON lines: written in the background, read back, and replayed."""

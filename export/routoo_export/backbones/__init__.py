"""Backbones: they turn token ids into features, behind one interface for all heads."""

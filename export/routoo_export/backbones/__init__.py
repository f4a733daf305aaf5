"""Backbones: token ids in, features out. The heads never know which one they stand on."""

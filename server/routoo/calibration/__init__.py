"""Finds settings on a file of prompts: what a policy's knob has to be for a wanted result."""

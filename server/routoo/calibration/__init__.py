"""Calibration: finds a policy's setting for a wanted result on a file of prompts."""

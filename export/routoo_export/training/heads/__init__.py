"""Training heads on features that stay as they are: rows, objectives, calibration, uncertainty."""

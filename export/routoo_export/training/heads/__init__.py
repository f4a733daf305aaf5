"""Training of heads on fixed features: rows, objectives, calibration, uncertainty."""

"""From logged traffic to a better predictor in force, and back: ``autopilot`` and its steps."""

"""The judging of what was trained on a team's own outcomes, against what needs no training."""

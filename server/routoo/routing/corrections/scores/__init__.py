"""Abilities that graded answers teach: ``AbilityTable`` learns, ``LearnedScores`` is in force."""

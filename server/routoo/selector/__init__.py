"""The cost-aware selector: which model answers which prompt, by linear programming over arrays."""

"""The command in processes of its own, and what those run."""

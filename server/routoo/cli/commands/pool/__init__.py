"""The commands that show the pool, and those that write its file."""

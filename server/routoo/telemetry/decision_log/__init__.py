"""The decision log: decisions as JSON lines, written in the background, read and replayed."""

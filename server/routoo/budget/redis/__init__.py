"""TODO: what the room hands out."""

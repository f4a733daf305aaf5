"""The commands of `routoo-export`, one module per step of the way."""

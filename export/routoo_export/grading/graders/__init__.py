"""Graders: by a reference answer, by unit tests, by an LLM that compares, and by a person."""

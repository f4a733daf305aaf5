"""What is told of decisions: metrics, logs, traces, and the decision log.

Each is an object of its own, handed to who tells it something. Prompts appear in none of them,
unless the settings of the decision log say so.
"""

"""Routoo: decides which LLM of a pool should answer a prompt, without running any of them."""

__version__ = "0.1.0"

"""The commands of ``routoo``, one module per noun."""

"""Public formats of routing outcomes, one module each, turned into the project's own."""

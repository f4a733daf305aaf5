"""Commands about where predictors are kept: ``triton``, a server's repository, and ``hub``."""

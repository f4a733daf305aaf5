"""The health of providers while the service runs: it learns from reports, and narrows choices."""

"""Authentication of callers, their tenants and roles, their limits, and TLS."""

"""A ledger in Redis that replicas share, and what each may spend while Redis is away."""

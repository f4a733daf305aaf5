"""A ledger in Redis that replicas share, and the leases that each spends without Redis."""

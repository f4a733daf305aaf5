"""A ledger in Redis that replicas share, and the local share that each spends without Redis."""

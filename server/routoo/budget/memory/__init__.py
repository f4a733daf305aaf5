"""A ledger in this process: books, reservations, and the journal that they survive a restart by."""

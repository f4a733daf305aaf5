"""A ledger in this process: its books, and the journal from which a restart restores them."""

"""Money that is reserved before a decision leaves, for one request or a whole batch."""

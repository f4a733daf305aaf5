"""The page for people: its files (``assets``), and the latest decisions that it shows."""

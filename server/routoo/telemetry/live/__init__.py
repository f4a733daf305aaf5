"""The latest decisions of this process, for people who look: ``LiveFeed``, and sums over them."""

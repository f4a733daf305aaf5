"""``routoo init``: ``command.py`` asks and writes; the others find models, write texts, and try."""

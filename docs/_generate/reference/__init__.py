"""Reference pages that are made of the code itself, so that none can be out of date."""

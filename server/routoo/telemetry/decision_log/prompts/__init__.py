"""The part of a prompt that the log keeps: nothing, its text, or a hash and features.

``lines`` writes and reads it, ``reader`` finds the features, ``question`` is what the hash is of.
"""

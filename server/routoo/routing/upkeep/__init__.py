"""The upkeep of a pool file: checks, edits of its text, and prices from catalogues on this machine.

Nothing here calls the network. A catalogue is a package, or a file, that is installed already.
"""

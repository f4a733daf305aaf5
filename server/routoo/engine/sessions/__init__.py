"""The stores that keep sessions between their turns, and the tracker that reads and changes them.

The rules are in ``routoo.routing.sessions``.
"""

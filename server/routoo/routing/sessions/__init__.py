"""Turns of sessions: what is kept between them, what they cost, and when a model stays.

The rules are pure: states and times are passed in. ``routoo.engine.sessions`` keeps the states.
"""

"""The pure domain of routing: requests, the pool, estimates, constraints, policies and decisions.

Nothing here knows a thread, a socket or a clock that it was not handed. It turns requests and
predictions into a problem for ``routoo.selector`` and the answer into decisions with their reasons.
"""

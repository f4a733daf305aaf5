"""The pure domain of routing: requests, the pool, estimates, constraints, policies and decisions.

The package opens no socket and starts no thread. It turns requests and predictions into a problem
for ``routoo.selector``, and the solution into decisions with their reasons.
"""

"""The network side of the service: gRPC, Envoy's processor, and access control.

No routing decision is made in this package. It checks and converts a message, asks the engine, and
converts its answer. ``status.py`` has the one table from errors to status codes.
"""

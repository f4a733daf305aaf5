"""Sends malformed requests and hostile streams to a service, and counts what it must not do."""

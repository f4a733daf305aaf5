"""Malformed requests and hostile streams for a service, and the search for its failures."""

"""Envoy's external processor: routes the HTTP requests that go through an Envoy.

``factory.open_processor`` makes one. ``factory`` imports the other modules only inside its
functions, because a service without Envoy needs none of them.
"""

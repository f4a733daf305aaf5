"""Envoy's external processor: routes the HTTP requests that go through an Envoy.

``factory.open_processor`` makes one. Only that function imports the other modules, because they
need Envoy's stubs.
"""

"""Envoy's external processor: routes the HTTP requests that go through an Envoy.

``factory.open_processor`` makes one; everything else is loaded by it, as it needs Envoy's stubs.
"""

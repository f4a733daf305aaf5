"""Envoy's external processor: routes the HTTP requests that go through an Envoy."""

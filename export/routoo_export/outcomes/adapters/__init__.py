"""Adapters that convert public formats of routing outcomes into the project's own format."""

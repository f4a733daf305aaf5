"""Requests that come under a budget: two sources of them, and rules that spend it."""

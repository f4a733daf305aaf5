"""Policies: rules that choose one of the eligible models, each in a file of its own."""

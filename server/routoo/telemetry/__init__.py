"""Telemetry of a service: metrics, logs, traces, and the decision log.

Each is an object of its own, which is passed to the code that reports to it. None of them contains
prompts, unless the settings of the decision log ask for them.
"""

"""From the wire to plain types and back: gRPC, Envoy's processor, and who may call.

Nothing is decided here. A message is checked and converted, the engine asked, its answer converted;
``status.py`` has the one table from errors to status codes.
"""

"""Routoo: decides which LLM of a pool should answer a prompt, without running any of them."""

import os

__version__ = "0.2.0"

# onnxruntime reports its use to its maker, and keeps an identifier of the machine in the user's
# cache, unless this is set before its library is loaded. Whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

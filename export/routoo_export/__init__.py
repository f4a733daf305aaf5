"""The offline part of Routoo, which trains a calibrated ONNX predictor from outcomes."""

import os

import routoo  # noqa: F401 - switches onnxruntime's telemetry off before anything loads it

# transformers and huggingface_hub report their use unless this is set before they are imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

"""The offline part of Routoo, which trains a calibrated ONNX predictor from outcomes."""

import os

import routoo  # noqa: F401 - switches onnxruntime's telemetry off before anything loads it

# Set before the libraries are imported. Without the first, transformers and huggingface_hub report
# their use; without the second, datasets counts each loading of a named data set; without the
# third, transformers asks the hub to convert a named model that has no safetensors.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "true")

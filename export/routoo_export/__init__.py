"""The offline part of Routoo, which trains a calibrated ONNX predictor from outcomes."""

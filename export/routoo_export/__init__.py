"""The offline half of Routoo: outcomes in, a calibrated ONNX predictor out."""

"""The trained predictor as an ONNX graph in float32, fp16 or int8, with a check of its parity."""

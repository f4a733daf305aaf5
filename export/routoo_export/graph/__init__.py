"""The trained predictor as an ONNX graph in float32, fp16 or int8, and proof that it is the same."""

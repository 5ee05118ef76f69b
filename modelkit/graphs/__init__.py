"""ONNX graphs: traced, simplified, given bytes to take, stored small."""

"""Conversion of nets to PyTorch, ONNX and Caffe's own files."""

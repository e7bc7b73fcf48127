"""Net to PyTorch, to ONNX, and the passes that simplify a net; each reads a Net and never changes it."""

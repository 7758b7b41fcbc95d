"""Graphs of ONNX: writing nodes, sparse counts and texts that are missing."""

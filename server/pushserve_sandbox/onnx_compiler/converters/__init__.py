"""Converters for skl2onnx, one module for each family of estimators."""

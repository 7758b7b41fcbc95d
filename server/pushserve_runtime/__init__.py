"""Runtime of both sides of the jail: the messages, frames and descriptions that they share.

Standard library and NumPy alone (ONNX Runtime in `onnx_predictor`), and nothing of ours: it is
imported by server processes and by jobs, also in a Python environment that a version brings along.
"""

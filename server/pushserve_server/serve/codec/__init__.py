"""Decoding of inputs, checked against the signature, and the selection of outputs."""

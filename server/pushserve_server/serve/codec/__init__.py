"""Codec: inputs decoded and checked against the signature, and outputs selected."""

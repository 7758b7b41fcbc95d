"""Prediction by a loaded model: arrays in, arrays out."""

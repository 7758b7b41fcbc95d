"""Proof that a graph answers as its estimator does: trial rows and their comparison."""

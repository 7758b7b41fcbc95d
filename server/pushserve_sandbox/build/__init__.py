"""Build job: loads a model, checks its examples, compiles it, reports."""

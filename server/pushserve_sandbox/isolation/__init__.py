"""Isolation of a job: Landlock, seccomp, resource limits and privileges."""

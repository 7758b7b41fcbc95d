"""Deploying: takes deployments live and keeps the registry in step with the remotes."""

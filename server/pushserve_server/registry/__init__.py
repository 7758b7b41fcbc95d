"""Registry on SQLite or PostgreSQL: sources, models, versions, refs, deployments.

It gives and takes the records of `pushserve_server.domain`; rows stay inside.
"""

from pushserve_server.registry.leasing import LeaseLost, LeaseToken, Superseded
from pushserve_server.registry.registry import Registry

__all__ = ["LeaseLost", "LeaseToken", "Registry", "Superseded"]

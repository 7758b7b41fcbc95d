"""The noted default of a model: the one that has answered so far, by the rule of before."""

from __future__ import annotations

from typing import Any

_ITS = "SELECT refs.name FROM refs WHERE refs.model_id = models.id"


def up(_migrator: object, db: Any) -> None:
    """Note main, else the source's default branch, else what was noted, else the oldest ref."""
    branch = "SELECT default_branch FROM sources WHERE sources.id = models.source_id"
    db.execute_sql(
        "UPDATE models SET default_ref = COALESCE("  # noqa: S608 (constants)
        f"({_ITS} AND refs.name = 'refs/heads/main'), "
        f"({_ITS} AND refs.name = ({branch})), "
        f"({_ITS} AND refs.name = models.default_ref), "
        f"({_ITS} ORDER BY refs.id LIMIT 1), default_ref)"
    )

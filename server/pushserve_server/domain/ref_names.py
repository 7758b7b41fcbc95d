"""Ref names: branches and tags, in full ("refs/heads/main") and as people write them ("main")."""

from __future__ import annotations


def full_names(ref: str) -> tuple[str, ...]:
    """Give the full names that `ref` may stand for, best first: branches come before tags.

    "tags/v1", as `short_name` has it, is taken too.
    """
    if ref.startswith("refs/"):
        return (ref,)
    names = (f"refs/heads/{ref}", f"refs/tags/{ref}")
    return (*names, f"refs/{ref}") if ref.startswith(("heads/", "tags/")) else names


def full_branch(name: str) -> str:
    """Give the full ref of a branch's name; an empty or full one stays."""
    return name if not name or name.startswith("refs/") else f"refs/heads/{name}"


def short_name(ref: str) -> str:
    """Give "main" for "refs/heads/main"; a tag keeps "tags/", as a branch may share its name."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/")

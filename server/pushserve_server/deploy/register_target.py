"""Register target: what a call to Register may name, checked, in one clean spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pushserve_runtime.signature import MODEL_NAME
from pushserve_server.errors import BadInput, Violation
from pushserve_server.registry.request_texts import check_text
from pushserve_server.source.urls import normalize_url

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# What git check-ref-format refuses.
_BAD_REF: Final = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[./-]|[./]$|^@$"
)


@dataclass(frozen=True, slots=True)
class Target:
    """One ref or commit of one folder of one source, and the name asked for ("" for none).

    `ref` is as it was given, "" for the default branch or where `commit` is set.
    """

    source: str
    path: str
    ref: str
    commit: str
    model: str


def clean_target(*, source: str, ref: str, commit: str, path: str, model: str) -> Target:
    """Check and clean every part.

    Raises:
        BadInput: naming each field that is wrong, and what would be right.
    """
    given = {"ref": ref, "commit": commit, "path": path, "model": model}
    for field, value in given.items():
        check_text(field, value)
    wrong = [
        Violation(field, said)
        for field, said in (
            ("ref", _wrong_ref(ref)),
            ("commit", _wrong_commit(commit, ref)),
            ("path", _wrong_path(path)),
            ("model", _wrong_model(model)),
        )
        if said
    ]
    if wrong:
        raise BadInput("; ".join(f"{v.field}: {v.description}" for v in wrong), wrong)
    return Target(
        source=normalize_url(source),
        path=_clean_path(path),
        ref="" if ref == "HEAD" else ref,
        commit=commit.lower(),
        model=model,
    )


def _wrong_ref(ref: str) -> str:
    if _BAD_REF.search(ref):
        return 'not the name of a branch or tag, such as "main" or "refs/tags/v1"'
    if ref.startswith("refs/") and not ref.startswith(("refs/heads/", "refs/tags/")):
        return "only branches (refs/heads/…) and tags (refs/tags/…) can be served"
    return ""


def _wrong_commit(commit: str, ref: str) -> str:
    if commit and ref:
        return "give either a ref or a commit"
    if commit and not _COMMIT.fullmatch(commit.lower()):
        return "the full SHA of a commit has 40 hex digits"
    return ""


def _wrong_path(path: str) -> str:
    if "\\" in path:
        return 'not a folder of the repository, such as "models/iris"'
    if path.startswith("/") or ".." in path.split("/"):
        return "a folder is named from the repository's root, without .."
    return ""


def _clean_path(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _wrong_model(model: str) -> str:
    if model and not MODEL_NAME.fullmatch(model):
        return (
            'a model\'s name has lower case letters, digits, "-", "_" and ".", at most 63, and '
            "starts and ends with a letter or digit"
        )
    return ""

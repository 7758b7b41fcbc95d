"""Lookups: models, refs and versions by what a caller names; in a transaction."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from peewee import JOIN

from pushserve_runtime.build_error import printable
from pushserve_runtime.closest_name import did_you_mean
from pushserve_server.domain.records import Ref
from pushserve_server.domain.ref_names import full_names, short_name
from pushserve_server.errors import BadInput, NotFound, Violation
from pushserve_server.registry.request_texts import check_text
from pushserve_server.registry.row_records import default_ref
from pushserve_server.registry.tables import ModelRow, RefRow, SourceRow, Tables, VersionRow, tuples

_SHA_PREFIX: Final = re.compile(r"[0-9a-f]{7,64}")
_COMPARED: Final = 10_000
"""Names among which a close one is looked for."""
_LISTED: Final = 20
"""Names in a message about what there is; more are only counted."""


def model_row(tables: Tables, name: str) -> ModelRow:
    """Find a model.

    Raises:
        BadInput: nothing can be called so.
        NotFound: there is none of that name.
    """
    check_text("model", name)
    row: ModelRow | None = tables.models.get_or_none(tables.models.name == name)
    if row is None:
        models = tables.models
        known = (name for (name,) in tuples(models.select(models.name).limit(_COMPARED)))
        text = did_you_mean(f"there is no model {name!r}; List shows the models", name, known)
        raise NotFound("model", name, text)
    return row


def model_of_folder(tables: Tables, source: str, path: str) -> ModelRow | None:
    """Find the model of one folder of one source."""
    models, sources = tables.models, tables.sources
    row: ModelRow | None = (
        models.select()
        .join(sources, on=(models.source_id == sources.id))
        .where(sources.url == source, models.path == path)
        .first()
    )
    return row


def built_row(tables: Tables, model: str, commit: str) -> VersionRow | None:
    """Find the version of the model of that name that the whole commit was built to."""
    versions, models = tables.versions, tables.models
    row: VersionRow | None = (
        versions.select()
        .join(models, on=(versions.model_id == models.id))
        .where(models.name == model, versions.commit == commit)
        .first()
    )
    return row


def refs_of(tables: Tables, model_ids: Sequence[int]) -> dict[int, list[Ref]]:
    """Give the refs of each model, oldest first."""
    refs, built, pinned = tables.refs, tables.versions, tables.versions.alias()
    query = (
        refs.select(
            refs.model_id,
            refs.name,
            built.number,
            built.commit,
            pinned.number,
            pinned.commit,
            refs.updated_at,
        )
        .join(built, on=(refs.version_id == built.id))
        .join_from(refs, pinned, JOIN.LEFT_OUTER, on=(refs.pinned_id == pinned.id))
        .where(refs.model_id.in_(model_ids))
        .order_by(refs.id)
    )
    found: dict[int, list[Ref]] = defaultdict(list)
    for model_id, *fields in tuples(query):
        found[model_id].append(Ref(*fields))
    return found


def default_ref_of(tables: Tables, model: ModelRow, names: Sequence[str]) -> str:
    """Give the ref that answers when a call names none, of `names` oldest first, or ""."""
    source = tables.sources.get_by_id(model.source_id)
    return default_ref(names, source.default_branch, model.default_ref)


def note_served_default(tables: Tables, source: SourceRow) -> None:
    """Note the source's default branch with each of its models that serves it.

    So that calls that name no ref go nowhere else when it is served no longer.
    """
    models, refs = tables.models, tables.refs
    served = refs.select(refs.model_id).where(refs.name == source.default_branch)
    models.update(default_ref=source.default_branch).where(
        models.source_id == source.id, models.id.in_(served)
    ).execute()


def ref_row(tables: Tables, model: ModelRow, ref: str) -> RefRow:
    """Find a ref by its full or short name; "" is the default one. Heads go before tags.

    Raises:
        BadInput: nothing can be called so.
        NotFound: the model has none of that name; the message names those that it has.
    """
    check_text("ref", ref)
    refs = tables.refs
    rows = {
        row.name: row for row in refs.select().where(refs.model_id == model.id).order_by(refs.id)
    }
    wanted = full_names(ref) if ref else (default_ref_of(tables, model, list(rows)),)
    for name in wanted:
        if name in rows:
            return rows[name]
    if not rows:
        text = f"no ref of {model.name!r} is served; name a version or a commit, or push a branch"
    elif ref:
        known = [short_name(name) for name in rows]
        text = f"{model.name!r} has no ref {ref!r}; it has {listed(known)}"
        text = did_you_mean(text, short_name(ref), known)
    else:
        text = (
            f"the default branch of {model.name!r} is not served, and calls that name no ref "
            f"go nowhere else; name one of {listed(map(short_name, rows))}"
        )
    raise NotFound("ref", ref, text)


def version_row(
    tables: Tables, model: ModelRow, *, number: int | None, commit: str | None
) -> VersionRow:
    """Find a version by its number, or by its commit or the start of it.

    Raises:
        BadInput: neither is given, or the commit is no SHA, too short or ambiguous.
        NotFound: there is none; the message names those that there are.
    """
    versions = tables.versions
    if number is not None:
        asked, matches = str(number), versions.number == number
    elif commit is not None:
        check_text("commit", commit)
        asked = commit.lower()
        if not _SHA_PREFIX.fullmatch(asked):
            raise _bad_commit(f"a commit is at least 7 hex digits of its SHA, not {commit!r}")
        # "g" sorts after every hex digit.
        matches = (versions.commit >= asked) & (versions.commit < asked + "g")
    else:
        raise BadInput("name a version by its number or by its commit")
    rows = list(versions.select().where(versions.model_id == model.id, matches).limit(2))
    if len(rows) > 1:
        raise _bad_commit(f"more than one version's commit starts with {asked}; give more of it")
    if not rows:
        text = f"{model.name!r} has no version {asked}; it has {_versions_listed(tables, model)}"
        raise NotFound("version", asked, text)
    return rows[0]


def _bad_commit(text: str) -> BadInput:
    return BadInput(text, [Violation("commit", text)])


def _versions_listed(tables: Tables, model: ModelRow) -> str:
    versions = tables.versions
    query = (
        versions.select(versions.number, versions.commit)
        .where(versions.model_id == model.id)
        .order_by(versions.number.desc())
    )
    return listed(f"{number} ({commit[:7]})" for number, commit in tuples(query))


def listed(names: Iterable[str]) -> str:
    """Give the names as one text; only the first of many, and the start of each."""
    all_names = list(names)
    text = ", ".join(printable(name, 80) for name in all_names[:_LISTED]) or "none"
    more = len(all_names) - _LISTED
    return f"{text} and {more} more" if more > 0 else text

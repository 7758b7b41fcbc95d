"""Models: reading them, their refs and versions."""

from __future__ import annotations

from collections.abc import Sequence

from pushserve_server.domain.records import Model, Ref, Tracked, Version
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.lookups import model_row, ref_row, refs_of, version_row
from pushserve_server.registry.request_texts import check_text
from pushserve_server.registry.row_records import default_ref, version_from_row
from pushserve_server.registry.tables import ModelRow, Tables, tuples
from pushserve_server.registry.tracking import tracked_folders


class Models:
    """The part of the registry that says what there is."""

    _store: RegistryDatabase

    def get_model(self, name: str) -> Model:
        """Give a model with its refs.

        Raises:
            NotFound: there is none of that name.
        """
        with self._store.reading() as tables:
            return _records(tables, [model_row(tables, name)])[0]

    def list_models(
        self, *, prefix: str = "", source: str = "", limit: int, after: str = ""
    ) -> list[Model]:
        """Give models by name.

        Args:
            prefix: Only those whose names start so.
            source: Only those of this clone URL.
            limit: At most so many.
            after: Only those whose names sort after this one.

        Raises:
            BadInput: nothing can be called so.
        """
        for field, value in (("name_prefix", prefix), ("source", source), ("page_token", after)):
            check_text(field, value)
        with self._store.reading() as tables:
            models, sources = tables.models, tables.sources
            query = (
                models.select()
                .join(sources, on=(models.source_id == sources.id))
                .where(models.name > after)
                .order_by(models.name)
                .limit(limit)
            )
            if prefix:
                query = query.where(models.name.startswith(prefix))
            if source:
                query = query.where(sources.url == source)
            return _records(tables, list(query))

    def versions(self, model: str, limit: int = 50) -> list[Version]:
        """Give a model's versions, newest first.

        Raises:
            NotFound: there is no such model.
        """
        with self._store.reading() as tables:
            versions = tables.versions
            query = (
                versions.select()
                .where(versions.model_id == model_row(tables, model).id)
                .order_by(versions.number.desc())
                .limit(limit)
            )
            return [version_from_row(row, model) for row in query]

    def find_version(
        self, model: str, *, number: int | None = None, commit: str | None = None
    ) -> Version:
        """Find a version by its number, or by at least 7 hex digits of its commit.

        Raises:
            BadInput: neither is given, or the commit is no SHA, too short or ambiguous.
            NotFound: there is no such model or version; the message names those there are.
        """
        with self._store.reading() as tables:
            found = model_row(tables, model)
            return version_from_row(version_row(tables, found, number=number, commit=commit), model)

    def resolve_ref(self, model: str, ref: str) -> Ref:
        """Find a ref by its full or short name; "" is the default one. Heads go before tags.

        Raises:
            NotFound: there is no such model or ref; the message names the refs there are.
        """
        with self._store.reading() as tables:
            found = model_row(tables, model)
            return ref_record(tables, found, ref_row(tables, found, ref).name)

    def source_urls(self, name: str) -> list[str]:
        """Give the clone URLs that hold a name, in any case; of sources that serve models first."""
        with self._store.reading() as tables:
            sources, deployments = tables.sources, tables.deployments
            served = sources.select(sources.url).where(sources.url.contains(name))
            asked = deployments.select(deployments.source).where(
                ~deployments.forgotten, deployments.source.contains(name)
            )
            urls = [*tuples(served.order_by(sources.id)), *tuples(asked.distinct())]
            return list(dict.fromkeys(url for (url,) in urls))

    def tracked(self) -> list[Tracked]:
        """Give every folder that was registered, with where its refs were last seen."""
        with self._store.reading() as tables:
            return tracked_folders(tables)


def ref_record(tables: Tables, model: ModelRow, name: str) -> Ref:
    """Give the ref of that full name, which exists."""
    return next(ref for ref in refs_of(tables, [model.id])[model.id] if ref.name == name)


def _records(tables: Tables, rows: Sequence[ModelRow]) -> list[Model]:
    refs = refs_of(tables, [row.id for row in rows])
    sources = tables.sources
    wanted = {row.source_id for row in rows}
    by_id = {row.id: row for row in sources.select().where(sources.id.in_(wanted))}
    return [
        Model(
            name=row.name,
            source=by_id[row.source_id].url,
            path=row.path,
            default_ref=default_ref(
                [ref.name for ref in refs[row.id]],
                by_id[row.source_id].default_branch,
                row.default_ref,
            ),
            refs=tuple(refs[row.id]),
            created_at=row.created_at,
        )
        for row in rows
    ]

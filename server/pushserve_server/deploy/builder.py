"""Builder: from a commit to a bundle, for deployments and for bundles that were lost."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.build_error import listed
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.signature import Signature
from pushserve_server.build import manifest, requirements
from pushserve_server.build.build_job import BuildResult, build, check_graph, model_spec
from pushserve_server.build.build_key import build_key
from pushserve_server.build.bundles import Bundles
from pushserve_server.build.contract import ModelFiles, find_model_files
from pushserve_server.domain.door_trial import TRIALS_KEY
from pushserve_server.domain.records import EngineName
from pushserve_server.errors import DeploymentFailed
from pushserve_server.sandbox_client import SandboxClient
from pushserve_server.settings import Settings
from pushserve_server.source.checkout import materialise
from pushserve_server.source.fetch import fetch_commit
from pushserve_server.source.mirror import remove_unused
from pushserve_server.source.names import folder_prefix
from pushserve_server.source.rules import find_rule
from pushserve_server.source.tree import Tree

_WORK: Final = ".work-"
_OLD: Final = 6 * 3600.0
_UNUSED: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where a model's files are in Git."""

    source: str
    path: str
    commit: str


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A model that was built; its bundle is on disk under `digest`."""

    digest: str
    engine: EngineName
    signature: Signature
    report: dict[str, Any]
    build_key: str


@dataclass(frozen=True, slots=True)
class Files:
    """A model's folder as it was fetched: names from the folder, and bytes together.

    `build_key` says what a build of it is made of (`build.build_key`).
    """

    folder: Path
    names: tuple[str, ...]
    size: int
    build_key: str


class Builder:
    """Makes bundles below `settings.data_dir`, with the zygote's help."""

    def __init__(self, settings: Settings, zygote: SandboxClient) -> None:
        self._settings = settings
        self._zygote = zygote
        self._data = settings.data_dir.absolute()
        self.bundles = Bundles(self._data / "bundles")
        self.mirrors = self._data / "mirrors"

    def sweep(self) -> None:
        """Remove what killed builds left behind hours ago, and mirrors unused for a week."""
        for pattern in (f"{_WORK}*", "bundles/.new-*", "bundles/.broken-*"):
            for path in self._data.glob(pattern):
                if time.time() - path.stat().st_mtime > _OLD:
                    shutil.rmtree(path, ignore_errors=True)
        remove_unused(self.mirrors, _UNUSED)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """Give a folder for one build, which the sandbox may read; it goes at the end."""
        self._data.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=_WORK, dir=self._data, ignore_cleanup_errors=True
        ) as name:
            Path(name).chmod(0o755)
            yield Path(name)

    def key(self, location: SourceLocation, cancelled: threading.Event) -> str:
        """Fetch the commit, and say what a build of its folder would be made of.

        Raises:
            As `fetch`, but for what is not allowed in a folder.
        """
        with self._fetched(location, cancelled) as tree:
            return self._key(location, tree)

    def fetch(self, location: SourceLocation, workplace: Path, cancelled: threading.Event) -> Files:
        """Bring the model's folder at that commit into the workplace.

        Raises:
            SourceRefused: the operator no longer lists the source.
            Unavailable: the remote cannot be reached.
            DeploymentFailed: the folder cannot be had, or holds what is not allowed.
        """
        settings = self._settings
        folder = workplace / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        with self._fetched(location, cancelled) as tree:
            paths = materialise(
                tree,
                location.path,
                folder,
                max_artifact=settings.max_artifact,
                max_repository=settings.max_repository,
            )
            key = self._key(location, tree)
        return Files(
            folder=folder,
            names=tuple(path.relative_to(folder).as_posix() for path in paths),
            size=sum(path.stat().st_size for path in paths),
            build_key=key,
        )

    def _fetched(self, location: SourceLocation, cancelled: threading.Event) -> Tree:
        settings = self._settings
        find_rule(location.source, settings.sources)
        return fetch_commit(
            location.source,
            location.commit,
            cache_dir=self.mirrors,
            max_blob=settings.max_artifact,
            timeout=settings.fetch_timeout,
            cancelled=cancelled,
        )

    def _key(self, location: SourceLocation, tree: Tree) -> str:
        """Give the build key; file modes are left out, as files are written without them."""
        prefix = folder_prefix(location.path)
        files = [
            (entry.path.removeprefix(prefix), entry.oid) for entry in tree.entries(location.path)
        ]
        trust = find_rule(location.source, self._settings.sources).trust
        return build_key(files, trust, self._settings)

    def check(self, location: SourceLocation, files: Files) -> ModelFiles:
        """Check the repository contract.

        Raises:
            DeploymentFailed: it does not hold.
        """
        rule = find_rule(location.source, self._settings.sources)
        content = b""
        if manifest.FILE_NAME in files.names:
            content = _beginning(files.folder / manifest.FILE_NAME, manifest.MAX_BYTES)
        said = manifest.parse_manifest(content)
        found = find_model_files(files.names, said, rule.trust, location.source)
        if found.requirements is not None:
            path = files.folder / found.requirements
            requirements.check_requirements(_beginning(path, requirements.MAX_BYTES))
        return found

    def build(
        self,
        files: Files,
        found: ModelFiles,
        cancelled: threading.Event,
        progress: Callable[[str], None],
        log_as: Mapping[str, object],
    ) -> StoredBundle:
        """Build the model in the sandbox and store the bundle; `log_as` as in `build_job.build`.

        Raises:
            DeploymentFailed: the model did not pass.
            Unavailable: the zygote cannot be reached.
        """
        began = time.monotonic()
        with self.workplace() as workplace:
            graph = workplace / "compiled.onnx"
            built = build(
                files.folder,
                found,
                settings=self._settings,
                zygote=self._zygote,
                cancelled=cancelled,
                progress=progress,
                graph=graph,
                log_as=log_as,
            )
            path = graph if built.has_graph else files.folder / str(found.artifact)
            built, bounds = self._proved(path, found, built, cancelled)
            finished = time.monotonic()
            spec = {
                **model_spec(found, self._settings),
                "engine": str(built.engine),  # not what was asked for: a restored one asks for this
                "signature": built.signature.to_json(),
                "workers": found.workers,
                "bounds": bounds.to_json() if bounds else None,
                TRIALS_KEY: list(built.door_trials),
            }
            digest = self.bundles.add(files.folder, spec, graph if built.has_graph else None)
        timings = {
            **built.report["timings"],
            "build_total": round(finished - began, 4),
            "store": round(time.monotonic() - finished, 4),
        }
        report = {**built.report, "timings": timings, "size_bytes": files.size}
        if found.beside:
            remark = f"{listed(found.beside)}: not used, as {found.artifact} is served alone"
            progress(remark)
            report["engine_reason"] = f"{report['engine_reason']}; {remark}"
        return StoredBundle(digest, built.engine, built.signature, report, files.build_key)

    def _proved(
        self, graph: Path, found: ModelFiles, built: BuildResult, cancelled: threading.Event
    ) -> tuple[BuildResult, GraphBounds | None]:
        """Give the result, for a worker where its graph may not run in a server process."""
        if built.engine is not EngineName.ONNX:
            return built, None
        checked = check_graph(
            graph,
            built.signature,
            settings=self._settings,
            zygote=self._zygote,
            cancelled=cancelled,
        )
        if checked.bounds is not None:
            return built, checked.bounds
        if found.engine == "onnx":
            raise DeploymentFailed(
                "ENGINE_NOT_POSSIBLE",
                f'the manifest asks for engine = "onnx", but the graph needs {checked.reason}',
                'Set engine = "auto" or leave it out, and the model is served by a worker.',
            )
        report = {**built.report, "engine_reason": f"its graph needs {checked.reason}"}
        return replace(built, engine=EngineName.WORKER, report=report, has_graph=False), None


def _beginning(path: Path, limit: int) -> bytes:
    """Read a file, or one byte more than `limit` of it, by which a reader knows that it is over."""
    with path.open("rb") as file:
        return file.read(limit + 1)

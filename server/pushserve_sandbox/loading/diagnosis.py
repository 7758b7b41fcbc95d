"""Diagnosis: from what user code raised to a reason and a fix."""

from __future__ import annotations

import sys
from typing import Any, Final

import sklearn

from pushserve_runtime.build_error import BuildFailed, brief, printable
from pushserve_runtime.job_spec import JobSpec
from pushserve_sandbox.loading.captured_output import Notes

_BOOSTERS: Final = ("xgboost", "lightgbm")
"""Packages that a server may have (`pushserve[boosting]`)."""

_SANDBOX: Final = {
    "network": (
        "SANDBOX_NETWORK",
        "tried to use the network",
        "models run without a network: commit what is needed",
    ),
    "process": (
        "SANDBOX_PROCESS",
        "tried to start a process",
        "models run in one process without threads of their own: set n_jobs=1",
    ),
    "file": (
        "SANDBOX_FILE",
        "tried to open a file that is not the model's",
        "read only files of the model's folder",
    ),
}


def explain(
    error: BaseException,
    spec: JobSpec,
    notes: Notes,
    what: str,
    reason: str = "ARTIFACT_UNREADABLE",
) -> BuildFailed:
    """Say why user code raised: the sandbox, another scikit-learn, a package, or the code.

    `what` is the sentence's start ("model.pkl cannot be loaded"); `reason` is used where no
    better one is known.
    """
    return (
        _memory(error, what)
        or version_failure(spec, notes)
        or _missing_package(error, what)
        or _forbidden(error, what)
        or _not_permitted(error, what)
        or _by_text(error, spec, what, reason)
    )


def _forbidden(error: BaseException, what: str) -> BuildFailed | None:
    """Say which forbidden thing was tried, if the jail saw one."""
    jail: Any = sys.modules.get("pushserve_sandbox.isolation.jail")
    violation = jail.first_violation() if jail is not None else None
    if violation is None:
        return None
    # Libraries look for optional files and go on without them: only a failed open counts.
    if str(violation.kind) == "file" and not _came_from(error, OSError):
        return None
    reason, tried, fix = _SANDBOX.get(str(violation.kind), _SANDBOX["file"])
    return BuildFailed(reason, f"{what}: it {tried} ({printable(str(violation.what))})", fix)


def _not_permitted(error: BaseException, what: str) -> BuildFailed | None:
    """Say which forbidden thing was tried where the jail's watch has not seen it.

    It notes only files that exist, and Python 3.11 tells nobody of threads.
    """
    if _came_from(error, PermissionError):
        reason, tried, fix = _SANDBOX["file"]
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        reason, tried, fix = _SANDBOX["process"]
    else:
        return None
    return BuildFailed(reason, f"{what}: it {tried} ({brief(error)})", fix)


def _came_from(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_versions(spec: JobSpec, notes: Notes) -> None:
    """Refuse a pickle of another scikit-learn, if the server checks that.

    Raises:
        BuildFailed: SKLEARN_VERSION_MISMATCH.
    """
    failure = version_failure(spec, notes)
    if failure is not None:
        raise failure


def version_failure(spec: JobSpec, notes: Notes) -> BuildFailed | None:
    """Say that the pickle was made by another scikit-learn, if a warning told so."""
    found = notes.version_mismatch
    if found is None or not spec.sklearn_pickle_check:
        return None
    return _mismatch(f"{found.estimator} was saved with scikit-learn {found.saved_with}")


def _mismatch(what: str) -> BuildFailed:
    return BuildFailed(
        "SKLEARN_VERSION_MISMATCH",
        f"{printable(what)}; this server runs {sklearn.__version__}",
        f"train and save the model with scikit-learn {sklearn.__version__}",
    )


def _memory(error: BaseException, what: str) -> BuildFailed | None:
    if not isinstance(error, MemoryError):
        return None
    return BuildFailed(
        "SANDBOX_MEMORY",
        f"{what}: it needs more memory than the server gives a model",
        "make the model smaller, or ask the server's operator for a higher limit",
    )


def _missing_package(error: BaseException, what: str) -> BuildFailed | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    root = printable(error.name.partition(".")[0], 80)
    if root == "sklearn":
        return _mismatch(f"the model needs {error.name}, of another scikit-learn")
    fix = f"commit the module {root} beside the model, or use only packages that the server has"
    if root in _BOOSTERS:
        fix = "ask the server's operator to install pushserve[boosting]"
    return BuildFailed(
        "MISSING_PACKAGE",
        f"{what}: it imports {root}, which is neither installed on this server nor in the folder",
        fix,
    )


def _by_text(error: BaseException, spec: JobSpec, what: str, reason: str) -> BuildFailed:
    text = brief(error).replace(f"{spec.folder}/", "")
    if isinstance(error, AttributeError) and "__main__" in text:
        fix = (
            "the model uses a class or function of the script that saved it: move that into a "
            "module, commit the module beside the model, and save the model again"
        )
    elif reason == "ARTIFACT_UNREADABLE":
        fix = "save the model again (joblib.dump, pickle.dump, skops.io.dump) and commit that file"
    elif reason == "TRIAL_FAILED":
        fix = "commit examples.json with a row that it takes, or correct the code"
    else:
        fix = "correct the code"
    return BuildFailed(reason, f"{what}: {text}", fix)

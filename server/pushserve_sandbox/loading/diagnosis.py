"""Diagnosis: from what user code raised to a reason and a fix."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import sklearn

from pushserve_runtime.build_error import BuildFailed, brief, printable
from pushserve_runtime.job_spec import JobSpec
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.raised_errors import came_from, forbidden, place, told
from pushserve_sandbox.prediction.json_values import NotJson

_BOOSTERS: Final = ("xgboost", "lightgbm")
"""Packages that a server may have (`pushserve[boosting]`)."""

_LOST: Final = re.compile(
    r"Can't get attribute '(?P<name>[^']{1,120})' on <module '(?P<module>[^']{1,120})'"
)
"""What unpickling raises where a module has no such class or function, and in old protocols:"""
_LOST_OLD: Final = re.compile(
    r"module '(?P<module>[^']{1,120})' has no attribute '(?P<name>[^']{1,120})'"
)
_ITS_FILES: Final = (
    "commit the file into the model's folder, and open it by its path from there, such as "
    "open('towns.csv'): a model can open no other file"
)
_JSON: Final = (
    "have predict return a dict of JSON's values: numbers, texts, truth values, None, and lists "
    "and dicts of these"
)
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
        _ITS_FILES,
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
        or _not_permitted(error, spec, what)
        or _by_text(error, spec, what, reason)
    )


def _forbidden(error: BaseException, what: str) -> BuildFailed | None:
    """Say which forbidden thing was tried, if the jail saw one."""
    jail: Any = sys.modules.get("pushserve_sandbox.isolation.jail")
    violation = jail.first_violation() if jail is not None else None
    if violation is None:
        return None
    # Libraries look for optional files and go on without them: only a failed open counts.
    if str(violation.kind) == "file" and not came_from(error, OSError):
        return None
    reason, tried, fix = _SANDBOX.get(str(violation.kind), _SANDBOX["file"])
    return BuildFailed(reason, f"{what}: it {tried} ({printable(str(violation.what))})", fix)


def _not_permitted(error: BaseException, spec: JobSpec, what: str) -> BuildFailed | None:
    """Say which forbidden thing was tried where the jail's watch has not seen it.

    It notes only files that exist, and Python 3.11 tells nobody of threads.
    """
    kind = forbidden(error)
    if not kind:
        return None
    reason, tried, fix = _SANDBOX[kind]
    return BuildFailed(reason, f"{what}: it {tried} ({told(error, spec.folder)})", fix)


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
        "make the model smaller, or ask the server's operator for a higher limit (sandbox_memory)",
    )


def _missing_package(error: BaseException, what: str) -> BuildFailed | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    root = printable(error.name.partition(".")[0], 80)
    if root == "sklearn":
        return _mismatch(f"the model needs {error.name}, of another scikit-learn")
    fix = (
        f"commit the module {root} beside the model, if it is your own; a package has to be "
        "installed by the server's operator, or the model be made without it"
    )
    if root in _BOOSTERS:
        fix = "ask the server's operator to install pushserve[boosting]"
    return BuildFailed(
        "MISSING_PACKAGE",
        f"{what}: it imports {root}, which is neither installed on this server nor in the folder",
        fix,
    )


def _by_text(error: BaseException, spec: JobSpec, what: str, reason: str) -> BuildFailed:
    if isinstance(error, NotJson):
        return BuildFailed(reason, f"{what}: its answer cannot be sent: {error}", _JSON)
    text = told(error, spec.folder)
    if isinstance(error, AttributeError) and reason == "ARTIFACT_UNREADABLE":
        start = brief(error).removeprefix("AttributeError: ")
        lost = _LOST.match(start) or _LOST_OLD.match(start)
        if lost and not place(error, spec.folder):
            return _lost(lost["name"], lost["module"], spec, what)
    if came_from(error, FileNotFoundError):
        fix = _ITS_FILES
    elif reason == "ARTIFACT_UNREADABLE":
        fix = "save the model again (joblib.dump, pickle.dump, skops.io.dump) and commit that file"
    elif reason == "TRIAL_FAILED":
        fix = "commit examples.json with a row that it takes, or correct the code"
    else:
        fix = "correct the code"
    return BuildFailed(reason, f"{what}: {text}", fix)


def _lost(name: str, module: str, spec: JobSpec, what: str) -> BuildFailed:
    """Say that a pickle names a class or function that is not where it says."""
    name, module, reason = printable(name), printable(module), "ARTIFACT_UNREADABLE"
    if module == "__main__" or module.startswith("pushserve_sandbox"):
        # A job's own main module is none of the author's.
        return BuildFailed(
            reason,
            f"{what}: it holds {name}, which the notebook or script that saved it defined "
            "itself, and a pickle does not hold the code",
            f"move {name} into a file of its own, say features.py, import it from there where you "
            "train, commit that file beside the model, and save the model again",
        )
    root = module.partition(".")[0]
    if (spec.folder / f"{root}.py").exists() or (spec.folder / root).is_dir():
        fix = f"commit {module} as it was when the model was saved, or save the model again"
    else:
        fix = f"save the model again with the release of {root} that the server has"
    text = f"{what}: it needs {name} of the module {module}, which has no such thing here"
    return BuildFailed(reason, text, fix)

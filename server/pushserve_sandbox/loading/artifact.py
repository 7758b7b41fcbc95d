"""Artifact: from a file to an estimator, or to a reason why it cannot be one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import joblib
import sklearn
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from pushserve_runtime.build_error import BuildFailed, listed, printable
from pushserve_runtime.job_spec import SAFE_FORMATS, Format, JobSpec
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.diagnosis import check_versions, explain


def load_estimator(spec: JobSpec, notes: Notes) -> Any:
    """Load the artifact of a joblib, pickle or skops model, fitted and ready for one thread.

    Raises:
        BuildFailed: it cannot be read, is not an estimator, or is not fitted.
    """
    estimator = load_artifact(spec, notes)
    check_estimator(estimator)
    use_one_thread(estimator)
    return estimator


def load_artifact(spec: JobSpec, notes: Notes) -> Any:
    """Load whatever object the artifact holds. A module beside it may be imported by it.

    Raises:
        BuildFailed: it cannot be read.
    """
    path, load = spec.artifact_path, _LOADERS.get(spec.artifact_format)
    if load is None:
        raise BuildFailed(
            "ARTIFACT_UNREADABLE",
            f"{path.name} is of the format {spec.artifact_format}, which is not a Python object",
            "have predict.py open it by itself",
        )
    if not path.is_file():
        raise BuildFailed("ARTIFACT_MISSING", f"there is no file {path.name}", "commit it")
    if path.stat().st_size == 0:
        raise BuildFailed(
            "ARTIFACT_UNREADABLE", f"{path.name} is empty", "save the model again and commit it"
        )
    prepare_imports(spec)
    try:
        with notes.taken():
            loaded = load(spec)
    except BuildFailed:
        raise
    except (Exception, SystemExit) as error:
        raise explain(error, spec, notes, f"{path.name} cannot be loaded") from error
    check_versions(spec, notes)
    return loaded


def prepare_imports(spec: JobSpec) -> None:
    """Let user code import modules that lie beside it, as `python predict.py` would."""
    sys.dont_write_bytecode = True  # the folder is read-only
    if spec.format not in SAFE_FORMATS and str(spec.folder) not in sys.path:
        sys.path.insert(0, str(spec.folder))


def _load_pickle(spec: JobSpec) -> Any:
    return joblib.load(spec.artifact_path)


def _load_skops(spec: JobSpec) -> Any:
    import skops.io  # noqa: PLC0415 (a second of imports that pickles do not need)
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    path = spec.artifact_path
    trusted = list(spec.skops_trusted)
    try:
        return skops.io.load(path, trusted=trusted)
    except UntrustedTypesFoundException as error:
        names = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        raise BuildFailed(
            "SKOPS_UNTRUSTED_TYPES",
            f"{path.name} holds types that this server does not trust: {listed(names)}",
            "save the model without them, or ask the server's operator to trust them too, by this "
            f"line above the sources in the configuration file:\n{_trusting([*trusted, *names])}",
        ) from error


def _trusting(types: Sequence[str]) -> str:
    return f"skops_trusted_types = [{', '.join(json.dumps(name) for name in types)}]"


# By the format that the server has judged, never by the file's name: a format that is missing
# here is not loaded at all.
_LOADERS: Final[dict[Format, Callable[[JobSpec], Any]]] = {
    Format.JOBLIB: _load_pickle,
    Format.PICKLE: _load_pickle,
    Format.SKOPS: _load_skops,
}


def check_estimator(model: Any) -> None:
    """Check that the object is a fitted estimator.

    Raises:
        BuildFailed: NOT_A_MODEL or MODEL_NOT_FITTED.
    """
    name = printable(f"{type(model).__module__}.{type(model).__qualname__}", 120)
    if isinstance(model, type) or not (hasattr(model, "predict") or hasattr(model, "transform")):
        raise BuildFailed(
            "NOT_A_MODEL",
            f"the artifact holds a {name}, which has neither predict nor transform",
            "save the fitted estimator or pipeline itself, or add a predict.py that uses it",
        )
    if not isinstance(model, BaseEstimator) or not hasattr(model, "fit"):
        return  # it cannot say: the trial rows will tell
    try:
        check_is_fitted(model)
    except NotFittedError as error:
        if _keeps_what_fit_found(model):
            return
        raise BuildFailed(
            "MODEL_NOT_FITTED", f"the {name} is not fitted", "call fit before saving it"
        ) from error
    except TypeError:  # below 1.6, a pipeline whose last step is "passthrough" cannot say either
        return


def _keeps_what_fit_found(model: Any) -> bool:
    """Whether a class of people's own keeps more than its settings, under names without "_"."""
    is_own = type(model).__module__.partition(".")[0] != "sklearn"
    return is_own and not set(vars(model)) <= set(model.get_params(deep=False))


def use_one_thread(model: Any) -> None:
    """Set `n_jobs` to 1 wherever an estimator in `model` has it, and k-means' own number.

    The sandbox has no threads, and starting them costs 13 ms a call. The answers are the same.
    """
    for estimator in _estimators(model):
        if getattr(estimator, "n_jobs", 1) not in (1, None):
            estimator.n_jobs = 1
        # Saved with the model; above 256 rows, OpenMP would end the process for want of them.
        if hasattr(estimator, "_n_threads"):
            estimator._n_threads = 1  # noqa: SLF001


def _estimators(root: Any) -> list[Any]:
    found, todo, seen = [], [root], set[int]()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, BaseEstimator):
            found.append(item)
            todo.extend(vars(item).values())
        elif isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list | tuple) and len(item) < 100_000:
            todo.extend(item)
    return found


def sklearn_version() -> str:
    """Version of scikit-learn that runs the models."""
    return str(sklearn.__version__)

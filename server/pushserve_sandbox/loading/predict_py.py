"""predict.py: a function from one JSON object to another.

    def predict(input: dict) -> dict            once for each row
    def predict(model, input: dict) -> dict     the same, given the artifact, already loaded
    def predict_batch(rows: list[dict]) -> list[dict]

The module is run with the model's folder as working directory and first on `sys.path`;
`__file__` is its absolute path, so it may load files that lie beside it.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared, JobSpec
from pushserve_runtime.output_arrays import NotAnOutput
from pushserve_runtime.result_frame import OBJECTS_LIMIT
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_sandbox.loading.artifact import load_artifact, prepare_imports, use_one_thread
from pushserve_sandbox.loading.call_signature import takes_model
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.diagnosis import check_versions, explain
from pushserve_sandbox.prediction.json_values import json_object
from pushserve_sandbox.prediction.key_order import KeyOrder
from pushserve_sandbox.prediction.row_arrays import records_array

OUTPUT: Final = "output"

BatchFunction = Callable[[list[Any]], Sequence[Any]]


class RecordsPredictor:
    """A `predict.py` with its signature."""

    def __init__(
        self,
        signature: Signature,
        run: BatchFunction,
        order: KeyOrder | None = None,
        *,
        by_row: bool = False,
    ) -> None:
        self._signature = signature
        self._run = run
        self.by_row = by_row
        """Whether its code sees one row at a time."""
        self._order = order or KeyOrder([feature.name for feature in signature.inputs], None)

    def with_order(self, example: Any) -> RecordsPredictor:
        """Give a predictor whose rows have their keys as this input has them."""
        names = [feature.name for feature in self._signature.inputs]
        order = KeyOrder(names, example)
        return RecordsPredictor(self._signature, self._run, order, by_row=self.by_row)

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._signature

    def predict(self, arrays: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Give one JSON value for each row.

        Raises:
            Exception: whatever the code raises.
            NotAnOutput: it gave another number of rows.
            NotJson: it gave something that JSON cannot hold.
        """
        results = self.results(arrays)
        result = records_array([json_object(item, OBJECTS_LIMIT) for item in results])
        return [result for _ in outputs]

    def results(self, arrays: Sequence[Array]) -> Sequence[Any]:
        """Give what the code gives for each row, whatever that is.

        Raises:
            Exception: whatever the code raises.
            NotAnOutput: it gave another number of rows.
        """
        rows = [self._order(row) for row in arrays[0].values.tolist()]
        results = self._run(rows)
        if not isinstance(results, list | tuple) or len(results) != len(rows):
            raise NotAnOutput(f"predict_batch must give a list of {len(rows)} results")
        return results


def load_script(spec: JobSpec, notes: Notes) -> RecordsPredictor:
    """Run the folder's predict.py and find its function.

    Raises:
        BuildFailed: it is missing, raises, or defines no function of a known form.
    """
    path = spec.folder / "predict.py"
    if not path.is_file():
        raise BuildFailed("PREDICT_MISSING", "there is no predict.py", "commit it")
    prepare_imports(spec)
    os.chdir(spec.folder)
    module = types.ModuleType("predict")
    module.__file__ = str(path)
    sys.modules["predict"] = module
    try:
        with notes.taken():
            code = compile(path.read_bytes(), str(path), "exec")
            exec(code, vars(module))  # noqa: S102 (running it is what the sandbox is for)
    except (Exception, SystemExit) as error:
        raise explain(error, spec, notes, "predict.py cannot be run", "PREDICT_FAILED") from error
    check_versions(spec, notes)
    for value in list(vars(module).values()):
        use_one_thread(value)
    by_row = not callable(getattr(module, "predict_batch", None))
    function = _find_function(module, spec, notes)
    return RecordsPredictor(script_signature(spec.declared), function, by_row=by_row)


def script_signature(declared: Declared) -> Signature:
    """Give the signature of a predict.py: what is declared, else any object."""
    return Signature(
        layout=Layout.RECORDS,
        inputs=tuple(
            Feature(f.name, f.dtype or DType.JSON, nullable=f.nullable is not False)
            for f in declared.inputs
        ),
        outputs=(OutputSpec(OUTPUT, DType.JSON),),
        default_outputs=(OUTPUT,),
    )


def _find_function(module: types.ModuleType, spec: JobSpec, notes: Notes) -> BatchFunction:
    batch, single = getattr(module, "predict_batch", None), getattr(module, "predict", None)
    if callable(batch):
        with_model = takes_model(batch, "predict_batch")
        return partial(batch, _model(spec, notes)) if with_model else batch
    if not callable(single):
        raise BuildFailed(
            "PREDICT_MISSING",
            "predict.py defines neither predict nor predict_batch",
            "define predict(input: dict) -> dict, or predict_batch(rows: list) -> list",
        )
    with_model = takes_model(single, "predict")
    one = partial(single, _model(spec, notes)) if with_model else single
    return lambda rows: [one(row) for row in rows]


def _model(spec: JobSpec, notes: Notes) -> Any:
    if spec.artifact is None:
        raise BuildFailed(
            "PREDICT_MISSING",
            "predict.py takes the model as an argument, but the folder has no artifact",
            "commit model.joblib (or another artifact), or define predict(input)",
        )
    model = load_artifact(spec, notes)
    use_one_thread(model)
    return model

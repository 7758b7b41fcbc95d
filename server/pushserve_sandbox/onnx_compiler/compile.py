"""Compilation of an estimator, or the reason in words why it stays Python."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

from pushserve_runtime.build_error import brief, listed
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.onnx_predictor import REFUSES, OnnxPredictor, graph_inputs
from pushserve_runtime.onnx_session import open_session
from pushserve_runtime.signature import Layout, Signature
from pushserve_sandbox.admission.admit import admit
from pushserve_sandbox.admission.form import check_standard
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.inspection.library_types import foreign_part
from pushserve_sandbox.onnx_compiler.convert import Form, convert, forms
from pushserve_sandbox.onnx_compiler.graph.marks import unmarked_thresholds
from pushserve_sandbox.onnx_compiler.graph_outputs import finish
from pushserve_sandbox.onnx_compiler.proof.budget import OverBudget, processor_time
from pushserve_sandbox.onnx_compiler.proof.parity import (
    Answers,
    answered_though_refused,
    ask,
    deciding_outputs,
    judge,
)
from pushserve_sandbox.onnx_compiler.proof.row_differences import RELATIVE
from pushserve_sandbox.onnx_compiler.proof.step_bits import compare_steps
from pushserve_sandbox.onnx_compiler.proof.threshold_rows import has_trees_behind_steps
from pushserve_sandbox.onnx_compiler.proof.trial_rows import trial_rows
from pushserve_sandbox.onnx_compiler.result import Compiled, Refused
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable
from pushserve_sandbox.prediction.model_outputs import quiet
from pushserve_sandbox.prediction.predictor import EstimatorPredictor

logger = logging.getLogger(__name__)

GRAPH_LIMIT: Final = 512 * 1024**2
_SEARCH_ROWS: Final = 512
SINGLE_SHARE: Final = 0.25
"""Part of the tolerance that float32 may use up on the trial rows."""
SECONDS: Final = 8.0
"""Of processor time, for converting and comparing: what takes longer is served by a worker."""


def compile_estimator(
    estimator: Any, predictor: EstimatorPredictor, examples: Sequence[Any], limit: int = GRAPH_LIMIT
) -> Compiled | Refused:
    """Compile a fitted estimator whose own answers `predictor` gives.

    `examples` are inputs of the repository's examples; a graph has at most `limit` bytes. An
    output of the estimator that is not asked for by default, and that no graph gives, is left
    out of the graph's signature, which the reason says.
    """
    beyond = _beyond_graphs(estimator, predictor.signature)
    if beyond:
        return Refused(beyond)
    try:
        with quiet():
            answers = ask(predictor, trial_rows(estimator, predictor.signature, examples))
    except NotCompilable as error:
        return Refused(str(error))
    except Exception as error:
        logger.exception("no trial rows could be made")
        return Refused(f"no trial rows could be made: {brief(error)}")
    try:
        with processor_time(SECONDS):
            return _try_forms(_Subject(estimator, predictor, answers), limit)
    except OverBudget:
        return Refused(f"converting it takes more than {SECONDS:g} s of processor time")


def _beyond_graphs(estimator: Any, signature: Signature) -> str:
    """Say what no graph can take; "" for nothing that can be seen before one is made."""
    if signature.layout is Layout.RECORDS:
        return "it takes rows of any form"
    opened = [feature.name for feature in signature.inputs if feature.is_open or feature.as_dates]
    if opened:
        return f"code of its own sees {listed(opened)} first, whose type is not known"
    return foreign_part(estimator) or unmarked_thresholds(estimator)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is compiled, and its own answers."""

    estimator: Any
    predictor: EstimatorPredictor
    answers: Answers

    @property
    def signature(self) -> Signature:
        return self.predictor.signature


def _try_forms(subject: _Subject, limit: int) -> Compiled | Refused:
    failures, differences = [], []
    for form in forms(subject.signature):
        if form.numbers == "float32" and has_trees_behind_steps(subject.estimator):
            # What the steps compute may round across a threshold that no trial row was made for.
            continue
        try:
            return _compile(subject, form, limit)
        except Differs as error:
            differences.append(f"in {form.numbers}, {error}")
        except NotCompilable as error:
            failures.append(str(error))
        except Exception as error:  # noqa: BLE001 (skl2onnx, ONNX Runtime and protobuf raise what they like)
            failures.append(_said(error))
    return Refused(differences[0] if differences else failures[-1])


def _said(error: Exception) -> str:
    """Describe an error; skl2onnx's two most frequent ones in words of our own."""
    if isinstance(error, MissingShapeCalculator | MissingConverter):
        name = re.search(r"'<class '(?:[\w.]+\.)?(\w+)'>'", str(error)[:1000])
        return f"there is no converter to ONNX for {name[1] if name else 'one of its steps'}"
    return brief(error)


class Differs(Exception):
    """The graph gives other answers; the text says which."""


def _compile(subject: _Subject, form: Form, limit: int) -> Compiled:
    signature, answers = subject.signature, subject.answers
    with quiet():
        model = convert(subject.estimator, signature, form)
    try:
        check_standard(model)
    except NotAdmitted as error:
        raise NotCompilable(f"its graph would need {error}") from error
    difference = compare_steps(subject.estimator, subject.predictor, model, answers.rows)
    if difference:
        raise Differs(difference)
    part = answers.first(_SEARCH_ROWS)
    try:
        model = finish(model, signature, part.rows, part.outputs)
        graph = model.SerializeToString()
        if len(graph) > limit:
            raise NotCompilable(f"its graph takes {len(graph):,} bytes, more than {limit:,}")
        bounds = admit(model)
    except NotAdmitted as error:
        raise NotCompilable(f"its graph would need {error}") from error
    return judged(graph, signature, answers, form.numbers, bounds)


def judged(
    graph: bytes,
    signature: Signature,
    answers: Answers,
    numbers: str,
    bounds: GraphBounds | None = None,
) -> Compiled:
    """Accept a graph, with the outputs that are equal.

    Raises:
        Differs: a default output is not equal, or missing.
    """
    session = open_session(graph)
    present = {item.name for item in session.get_outputs()}
    deciding = deciding_outputs(signature)
    missing = [name for name in deciding if name not in present]
    if missing:
        raise Differs(f"no tensor of the graph is equal to {listed(missing)}")
    offered = _with_outputs(signature, present)
    predictor = OnnxPredictor(session, offered, graph_inputs(session), bounds)
    try:
        verdict = judge(predictor, answers)
    except Exception as error:
        if REFUSES in str(error):
            raise Differs("the graph refuses rows that scikit-learn answers") from error
        raise
    answered = answered_though_refused(predictor, answers)
    if answered:
        raise Differs(answered)
    for name in deciding:
        if name in verdict.differences:
            raise Differs(verdict.differences[name])
    equal = _with_outputs(offered, present - set(verdict.differences))
    deviation = max(verdict.deviations[spec.name] for spec in equal.outputs)
    if numbers == "float32" and deviation > SINGLE_SHARE * RELATIVE:
        # Other rows may be off by more than the trial rows are.
        raise Differs(f"numbers are off by up to {deviation:.1g}, too near to {RELATIVE:g}")
    reason = _reason(signature, equal, answers, deviation, numbers)
    return Compiled(graph, OnnxPredictor(session, equal, graph_inputs(session), bounds), reason)


def _with_outputs(signature: Signature, names: set[str]) -> Signature:
    return replace(signature, outputs=tuple(s for s in signature.outputs if s.name in names))


def _reason(
    signature: Signature, offered: Signature, answers: Answers, deviation: float, numbers: str
) -> str:
    given = {spec.name for spec in offered.outputs}
    left_out = [spec.name for spec in signature.outputs if spec.name not in given]
    equal = "labels are equal, numbers" if "label" in given else "numbers are equal"
    text = (
        f"compiled to ONNX ({numbers}) and compared with scikit-learn on {answers.count:,} rows: "
        f"{equal} within {RELATIVE:g} (the largest deviation is {deviation:.1g})"
    )
    if left_out:
        text += (
            f"; the graph does not give {listed(left_out)}, "
            'which engine = "worker" in pushserve.toml brings back'
        )
    return text

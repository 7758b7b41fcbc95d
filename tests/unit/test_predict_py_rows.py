"""predict.py as people write it: keys in order, whole numbers, functions that can be called."""

from __future__ import annotations

import json
import random

import pandas as pd
import pytest
from google.protobuf import json_format, struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.input_messages import fill_inputs
from pushserve_runtime.frames import encode_arrays
from pushserve_runtime.job_spec import JobSpec
from pushserve_runtime.signature import Signature
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.load import make_predictor, read_model
from pushserve_sandbox.worker.request_decoding import intake_for
from pushserve_server.api.doors.predict_inputs import request_from_proto
from pushserve_server.errors import BadInput
from pushserve_server.serve.codec.decoding import Decoder

SCRIPT = {"format": "predict.py", "artifact": None}


class Script:
    """A predict.py as its worker has it, behind every door."""

    def __init__(self, folder, code, *examples, **spec):
        folder.write("predict.py", code)
        if examples:
            folder.write("examples.json", list(examples))
        self.result = folder.build(**SCRIPT, **spec)
        assert self.result["ok"], self.result
        self.signature = Signature.from_json(self.result["signature"])
        built = JobSpec.from_json(folder.spec(**SCRIPT, **spec))
        inputs = [example["input"] for example in examples]
        notes = Notes()
        self._predictor = make_predictor(read_model(built, notes), built, inputs, notes).predictor

    def rows(self, *rows):
        request = pb.PredictRequest()
        for row in rows:
            request.rows.append(json_format.ParseDict(row, struct_pb2.Struct()))
        return self.ask(request)

    def table(self, inputs):
        request = pb.PredictRequest()
        fill_inputs(request, inputs)
        return self.ask(request)

    def ask(self, request):
        decoded = request_from_proto(request, Decoder(self.signature, 1000))
        body = b"".join(bytes(part) for part in encode_arrays(1, decoded.rows, decoded.arrays))
        intake = intake_for(self.signature)
        [answer] = self._predictor.predict(
            intake.join([intake.read(memoryview(body))[2]]), ["output"]
        )
        return answer.values.tolist()


KEYS = "def predict(input):\n    return {'keys': list(input), 'values': list(input.values())}\n"


class TestKeys:
    """Rows have their keys in a stated order on every door."""

    NAMES = ("fare", "age", "pclass", "alone", "zeta", "beta")

    def shuffled(self):
        return [dict(random.Random(i).sample([(n, i) for n in self.NAMES], 6)) for i in range(20)]

    def test_the_first_examples_order(self, folder):
        example = {"input": dict.fromkeys(self.NAMES, 1)}
        script = Script(folder, KEYS, example, {"input": {"age": 1, "fare": 2}})

        answers = script.rows(*self.shuffled()) + script.table(pd.DataFrame(self.shuffled()))

        assert [list(self.NAMES)] * 40 == [answer["keys"] for answer in answers]

    def test_the_declared_order(self, folder):
        declared = {"inputs": [{"name": name} for name in reversed(self.NAMES)]}
        example = {"input": dict.fromkeys(self.NAMES, 1)}
        script = Script(folder, KEYS, example, signature=declared)

        answers = script.rows(*self.shuffled()) + script.table(pd.DataFrame(self.shuffled()))

        assert [list(reversed(self.NAMES))] * 40 == [answer["keys"] for answer in answers]

    def test_sorted_where_nothing_tells(self, folder):
        script = Script(folder, KEYS)

        answers = script.rows(*self.shuffled()) + script.table(pd.DataFrame(self.shuffled()))

        assert [sorted(self.NAMES)] * 40 == [answer["keys"] for answer in answers]

    def test_keys_that_the_example_does_not_have_come_behind(self, folder):
        script = Script(folder, KEYS, {"input": {"c": 1, "a": 2}})

        assert ["c", "a", "b", "z"] == script.rows({"z": 1, "a": 2, "b": 3, "c": 4})[0]["keys"]

    def test_objects_inside_of_rows(self, folder):
        code = "def predict(input):\n    return {'k': [list(one) for one in input['items']]}\n"
        script = Script(folder, code, {"input": {"items": [{"y": 1, "b": 2, "a": 3}]}})
        row = {"items": [{"a": 1, "b": 2, "y": 3}, {"b": 1, "a": 1, "y": 1, "x": 0}]}

        assert [["y", "b", "a"], ["y", "b", "a", "x"]] == script.rows(row)[0]["k"]

    def test_a_batch(self, folder):
        code = "def predict_batch(rows):\n    return [{'k': list(row)} for row in rows]\n"
        script = Script(folder, code, {"input": {"b": 1, "a": 2}})

        assert [["b", "a"]] * 2 == [
            one["k"] for one in script.rows({"a": 1, "b": 1}, {"b": 1, "a": 1})
        ]


TYPES = """
def shown(value):
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else type(value).__name__
def predict(input):
    return {"types": shown(input)}
"""


class TestNumbers:
    """Whole numbers arrive as int, as an example's do."""

    def test_the_example_and_the_call_are_the_same(self, folder):
        code = (
            'PRICE = {"1": 10, "2": 20}\n'
            "def predict(input):\n"
            "    n = len([0] * input['code'])\n"
            "    return {'price': PRICE.get(str(input['code']), 0), 'n': n}\n"
        )
        example = {"input": {"code": 2}, "output": {"price": 20, "n": 2}}
        script = Script(folder, code, example)

        assert [example["output"]] == script.rows(example["input"])
        assert [example["output"]] == script.table({"code": [2]})

    def test_at_every_depth(self, folder):
        row = {"a": 1, "b": 1.5, "c": True, "d": {"e": [2, 2.5, None]}, "f": "1"}
        shown = {"a": "int", "b": "float", "c": "bool", "f": "str"}
        shown["d"] = {"e": ["int", "float", "NoneType"]}

        assert shown == Script(folder, TYPES).rows(row)[0]["types"]

    def test_an_example_that_is_written_as_a_fraction(self, folder):
        """2.0 is 2 when it is sent, so it is when it is tried."""
        folder.write("predict.py", TYPES)
        folder.write("examples.json", '[{"input": {"a": 2.0}, "output": {"types": {"a": "int"}}}]')

        assert folder.build(**SCRIPT)["ok"]

    def test_declared_types_are_kept(self, folder):
        inputs = [{"name": "a", "dtype": "float64"}, {"name": "b", "dtype": "int64"}, {"name": "c"}]
        script = Script(folder, TYPES, signature={"inputs": inputs})

        types = script.rows({"a": 1, "b": 1, "c": 1})[0]["types"]

        assert {"a": "float", "b": "int", "c": "int"} == types

    def test_a_tables_types_are_kept(self, folder):
        frame = pd.DataFrame({"a": [1.0], "b": [1], "c": [True]})

        assert {"a": "float", "b": "int", "c": "bool"} == Script(folder, TYPES).table(frame)[0][
            "types"
        ]

    @pytest.mark.parametrize("row", [{"id": 2**53 + 1}, {"in": [{"id": -(2**60)}]}])
    @pytest.mark.parametrize("spec", [{}, {"signature": {"inputs": [{"name": "id"}]}}])
    def test_digits_that_json_has_lost(self, folder, row, spec):
        if spec and "id" not in row:
            spec = {"signature": {"inputs": [{"name": "in"}]}}
        script = Script(folder, KEYS, **spec)

        with pytest.raises(BadInput, match="as text") as caught:
            script.rows(row)

        assert "INEXACT_NUMBER" == caught.value.code_reason
        assert [2**53 + 1] == script.table({next(iter(row)): [2**53 + 1]})[0]["values"]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("def predict(): return {}", "takes no argument"),
        ("def predict(X, model): return {}", "takes the model second"),
        ("def predict(data, clf): return {}", "takes the model second"),
        ("def predict(model, scaler, X): return {}", "wants 3 arguments: model, scaler, X"),
        ("def predict(input, *, threshold): return {}", "keyword argument 'threshold'"),
        ("async def predict(input): return {}", "is async"),
        ("def predict(input): yield {}", "yields"),
        ("def predict_batch(): return []", "takes no argument"),
    ],
)
def test_functions_that_cannot_be_called_so(folder, function, says):
    """Found without any example; the fix names forms that go live."""
    folder.write("predict.py", function)

    result = folder.build(**SCRIPT)

    assert "PREDICT_SIGNATURE" == result["reason"]
    assert says in result["message"]
    folder.write("predict.py", "def predict(input: dict) -> dict:\n    return {}\n")
    assert "predict(input: dict) -> dict" in result["fix"] or "predict_batch" in function
    assert folder.build(**SCRIPT)["ok"]


@pytest.mark.parametrize(
    "function",
    [
        "def predict(X, verbose=False): return {}",
        "def predict(*rows): return {}",
        "def predict(input=None): return {}",
        "class Model:\n    def __call__(self, input): return {}\npredict = Model()",
        "def predict(input, **options): return {}",
        "predict = lambda input: {}",
    ],
)
def test_functions_that_can(folder, function):
    assert [{}] == Script(folder, function).rows({"a": 1})


TWO_INPUTS = {"inputs": [{"name": "age", "dtype": "int64"}, {"name": "town", "dtype": "string"}]}


class TestMadeUpRows:
    """What has no examples is tried where its inputs are declared; else it is said."""

    def test_tried(self, folder):
        code = "def predict(input):\n    return {'x': input['age'] + 1, 't': input['town'] + '!'}\n"

        script = Script(folder, code, signature=TWO_INPUTS)

        assert "made up for the declared inputs" in script.result["report"]["engine_reason"]

    def test_what_raises_does_not_go_live(self, folder):
        folder.write("predict.py", "def predict(input):\n    return {'x': input['agee']}\n")

        result = folder.build(**SCRIPT, signature=TWO_INPUTS)

        assert "TRIAL_FAILED" == result["reason"]
        assert "KeyError" in result["message"]

    def test_an_example_cures_what_no_made_up_row_fits(self, folder):
        code = "def predict(input):\n    return {'x': {'Ulm': 1}[input['town']]}\n"
        folder.write("predict.py", code)
        failed = folder.build(**SCRIPT, signature=TWO_INPUTS)

        assert "TRIAL_FAILED" == failed["reason"]
        assert "examples.json" in failed["fix"]
        script = Script(folder, code, {"input": {"age": 1, "town": "Ulm"}}, signature=TWO_INPUTS)
        assert [{"x": 1}] == script.rows({"age": 2, "town": "Ulm"})

    def test_nothing_was_tried(self, folder):
        script = Script(folder, KEYS)

        assert "nothing was tried" in script.result["report"]["engine_reason"]
        assert 0 == json.loads(json.dumps(script.result["report"]["examples_checked"]))

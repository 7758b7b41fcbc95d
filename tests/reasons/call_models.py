"""Models that the calls of the walk ask: each has a column or an answer that can be got wrong."""

from __future__ import annotations

import json

import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.fixtures.git_server import Content
from tests.reasons.push_case import DATA, dumped

SCRIPT = """
import os
import time

def predict(input):
    do = input["do"]
    if do == "read":
        return {"price": {"a": 1}[input["key"]]}
    if do == "divide":
        return {"price": 1 / input["n"]}
    if do == "end":
        os._exit(1)
    if do == "loop":
        while True:
            pass
    if do == "sleep":
        time.sleep(input["seconds"])
    if do == "large":
        return {"text": "x" * input["n"]}
    if do == "beyond":
        return {"n": 10 ** input["n"]}
    return {"done": True}
"""
COUNTED = '[signature]\ninputs = [{name = "id", dtype = "int64"}]\n'


def repositories() -> dict[str, dict[str, Content]]:
    """Files by the model's name."""
    frame = pd.DataFrame(DATA, columns=["age", "fare"])
    towns = pd.DataFrame({"town": ["Ulm", "Bonn", "Ulm"]})
    return {
        "flat": {"model.joblib": dumped(LinearRegression().fit(frame, DATA @ [1.0, 2.0]))},
        "towns": {"model.joblib": dumped(OneHotEncoder().fit(towns))},
        "words": {
            "model.joblib": dumped(
                make_pipeline(CountVectorizer(), LinearRegression()).fit(["a bc", "de f"], [0, 1])
            )
        },
        "counted": {
            "predict.py": "def predict(input): return {'id': str(input['id'])}\n",
            "pushserve.toml": COUNTED,
        },
        "script": {
            "predict.py": SCRIPT,
            "examples.json": json.dumps([{"input": {"do": "nothing"}, "output": {"done": True}}]),
        },
    }

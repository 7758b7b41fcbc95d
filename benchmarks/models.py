"""The two models that everything is measured with, as repository files."""

from __future__ import annotations

import functools
import io
import json
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@functools.lru_cache
def logistic() -> tuple[Any, np.ndarray]:
    """StandardScaler and LogisticRegression, 4 features, 3 classes."""
    x, y = load_iris(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y), x


@functools.lru_cache
def forest() -> tuple[Any, np.ndarray]:
    """A forest of 100 trees, 30 features, 2 classes."""
    x, y = load_breast_cancer(return_X_y=True)
    return RandomForestClassifier(100, random_state=0, n_jobs=1).fit(x, y), x


MODELS = {"logistic": logistic, "forest": forest}


def files(name: str, engine: str) -> dict[str, bytes]:
    """Give the repository of a model that is to run on `engine`."""
    model, rows = MODELS[name]()
    stored = io.BytesIO()
    joblib.dump(model, stored)
    examples = [{"input": row.tolist()} for row in rows[:3]]
    return {
        "model.joblib": stored.getvalue(),
        "examples.json": json.dumps(examples).encode(),
        "pushserve.toml": f'name = "{name}-{engine}"\nengine = "{engine}"\n'.encode(),
    }

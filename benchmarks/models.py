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
def logistic(variant: int = 0) -> tuple[Any, np.ndarray]:
    """StandardScaler and LogisticRegression, 4 features, 3 classes."""
    x, y = load_iris(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / (1 + variant))).fit(x, y), x


@functools.lru_cache
def forest(variant: int = 0) -> tuple[Any, np.ndarray]:
    """A forest of 100 trees, 30 features, 2 classes."""
    x, y = load_breast_cancer(return_X_y=True)
    return RandomForestClassifier(100, random_state=variant, n_jobs=1).fit(x, y), x


MODELS = {"logistic": logistic, "forest": forest}


def rows(name: str, count: int) -> np.ndarray:
    """Give so many of the rows that the model was fitted to, again and again if need be."""
    _, known = MODELS[name]()
    return np.resize(known, (count, known.shape[1])).astype("<f8")


@functools.lru_cache
def expected(name: str, count: int, variant: int = 0) -> np.ndarray:
    """Give scikit-learn's own probabilities for `rows(name, count)`."""
    model, _ = MODELS[name](variant)
    return model.predict_proba(rows(name, count))


def files(name: str, engine: str, variant: int = 0) -> dict[str, bytes]:
    """Give the repository of a model that is to run on `engine`; variants answer differently."""
    model, known = MODELS[name](variant)
    stored = io.BytesIO()
    joblib.dump(model, stored)
    examples = [{"input": row.tolist()} for row in known[:3]]
    return {
        "model.joblib": stored.getvalue(),
        "examples.json": json.dumps(examples).encode(),
        "pushserve.toml": f'name = "{name}-{engine}"\nengine = "{engine}"\n'.encode(),
    }

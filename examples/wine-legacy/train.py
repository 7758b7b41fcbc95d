"""Trains a model in the form that the older platform took: model.pkl and a predict.py."""

import pickle

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

data = load_wine()
model = make_pipeline(StandardScaler(), LogisticRegression())
model.fit(data.data, data.target)
with open("model.pkl", "wb") as file:
    pickle.dump(model, file)
print(f"accuracy on its own data: {model.score(data.data, data.target):.3f}")

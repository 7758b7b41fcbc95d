"""Trains a classifier on the iris data; run it with `python train.py [--max-depth N]`."""

import argparse
import json

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--max-depth", type=int, default=3)
options = parser.parse_args()

data = load_iris(as_frame=True)
features = data.data
labels = data.target.map(dict(enumerate(data.target_names)))
model = RandomForestClassifier(100, max_depth=options.max_depth, random_state=0)
model.fit(features, labels)
joblib.dump(model, "model.joblib")

rows = features.iloc[[0, 60, 140]]
examples = [
    {"input": row, "output": {"label": label}}
    for row, label in zip(rows.to_dict("records"), model.predict(rows), strict=True)
]
with open("examples.json", "w") as file:
    json.dump(examples, file, indent=2)
print(f"accuracy on its own data: {model.score(features, labels):.3f}")

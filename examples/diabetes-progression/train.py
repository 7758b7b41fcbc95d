"""Trains a regressor on scikit-learn's diabetes data and saves it as skops, which holds no code."""

import argparse
import json

import skops.io
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, default=1.0)
options = parser.parse_args()

data = load_diabetes(as_frame=True, scaled=False)
model = make_pipeline(StandardScaler(), Ridge(alpha=options.alpha))
model.fit(data.data, data.target)
skops.io.dump(model, "model.skops")

rows = data.data.iloc[:3]
examples = {
    "inputs": rows.to_dict("records"),
    "outputs": [float(value) for value in model.predict(rows)],
}
with open("examples.json", "w") as file:
    json.dump(examples, file, indent=2)
print(f"R2 on its own data: {model.score(data.data, data.target):.3f}")

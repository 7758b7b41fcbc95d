"""Trains a pipeline over a table of numbers, texts and missing values.

The table is scikit-learn's diabetes data, with the sex and a body type as texts and every
seventh blood pressure and every eleventh body type missing.
"""

import json

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

data = load_diabetes(as_frame=True, scaled=False)
table = data.data[["age", "bmi", "bp"]].copy()
table.insert(1, "sex", data.data["sex"].map({1.0: "female", 2.0: "male"}))
table["body"] = pd.cut(table["bmi"], [0, 25, 30, 99], labels=["lean", "heavy", "obese"]).astype(str)
table.loc[::7, "bp"] = np.nan
table.loc[::11, "body"] = None
risk = np.where(data.target > data.target.median(), "high", "low")

numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
texts = make_pipeline(
    SimpleImputer(strategy="constant", fill_value="unknown", missing_values=np.nan),
    OneHotEncoder(handle_unknown="ignore"),
)
columns = ColumnTransformer(
    [("numbers", numbers, ["age", "bmi", "bp"]), ("texts", texts, ["sex", "body"])]
)
model = make_pipeline(columns, LogisticRegression())
model.fit(table, risk)
joblib.dump(model, "model.joblib")

rows = table.iloc[[0, 1, 7, 11, 200]]
records = json.loads(rows.to_json(orient="records"))  # NaN becomes null
examples = [
    {"input": record, "output": {"label": label, "probabilities": chances.tolist()}}
    for record, label, chances in zip(
        records, model.predict(rows), model.predict_proba(rows), strict=True
    )
]
with open("examples.json", "w") as file:
    json.dump(examples, file, indent=2)
print(f"accuracy on its own data: {model.score(table, risk):.3f}")

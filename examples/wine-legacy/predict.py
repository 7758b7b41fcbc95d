import os
import pickle

with open(os.path.join(os.path.dirname(__file__), "model.pkl"), "rb") as file:
    model = pickle.load(file)

CULTIVARS = ["Barolo", "Grignolino", "Barbera"]


def predict(input: dict) -> dict:
    row = [input["features"]]
    chances = model.predict_proba(row)[0]
    best = int(chances.argmax())
    return {"cultivar": CULTIVARS[best], "confidence": float(chances[best])}

"""Trees as arrays, read from scikit-learn, XGBoost and LightGBM."""

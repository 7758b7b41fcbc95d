"""Writing ONNX graphs: nodes, sparse counts, and the estimators inside of an estimator."""

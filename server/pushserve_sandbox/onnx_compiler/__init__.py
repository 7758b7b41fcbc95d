"""ONNX compiler: from a fitted estimator to a graph, with the proof that it answers the same.

`compile.compile_estimator` tries to convert (`convert`), makes trial rows that look for
differences (`evidence`, `trials`, `thresholds`) and compares the graph with the estimator
on them (`parity`). A graph that differs anywhere is thrown away, with the reason.
"""

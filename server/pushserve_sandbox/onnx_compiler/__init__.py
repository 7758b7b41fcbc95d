"""Compiles a fitted estimator to an ONNX graph, and proves that it gives the same answers.

`compile.compile_estimator` tries to convert (`convert`), makes trial rows that look for
differences (`evidence`, `trials`, `thresholds`) and compares the graph with the estimator
on them (`parity`). A graph that differs anywhere is thrown away, with the reason.
"""

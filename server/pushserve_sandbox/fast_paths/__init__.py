"""Fast paths: ways through scikit-learn's estimators to the same bits with less overhead.

A `FastPath` does what an estimator's methods do by its own definition: it starts once for all
outputs that are asked for (label and probabilities in one pass), and where it knows how, it
leaves out what scikit-learn does once a call and for each tree. Nothing here is trusted: a fast
path is used only after `equality_test` has compared it with the estimator's own methods, bit by
bit.
"""

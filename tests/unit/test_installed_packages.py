"""`Info`: what the server says it runs on is what is imported there."""

import platform

import joblib
import numpy as np
import onnxruntime
import pandas as pd
import scipy
import sklearn
import skops

from pushserve_client.from_messages import info_from_proto
from pushserve_server.api.installed_packages import server_info


def test_versions_are_those_that_are_imported():
    info = info_from_proto(server_info())

    assert platform.python_version() == info.python
    for module in (joblib, np, onnxruntime, pd, scipy, skops):
        assert module.__version__ == info.packages[module.__name__]
    assert sklearn.__version__ == info.packages["scikit-learn"]
    assert info.version


def test_what_is_not_installed_is_not_named():
    assert "" not in info_from_proto(server_info()).packages.values()

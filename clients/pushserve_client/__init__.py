"""Python client of pushserve, and (in `main`) the `pushserve` command.

>>> from pushserve_client import Client
>>> with Client("127.0.0.1:50051") as client:
...     client.predict("iris", [[5.1, 3.5, 1.4, 0.2]]).label
"""

from pushserve_client.aio import AsyncClient
from pushserve_client.client import Client
from pushserve_client.errors import (
    BadArgument,
    BadData,
    CallError,
    ClientClosed,
    ClientError,
    DeploymentFailed,
)
from pushserve_client.prediction import Prediction
from pushserve_client.types import (
    Deployment,
    DeploymentState,
    Model,
    ModelDetails,
    Ref,
    ServerInfo,
    Version,
)
from pushserve_client.version import __version__

__all__ = [
    "AsyncClient",
    "BadArgument",
    "BadData",
    "CallError",
    "Client",
    "ClientClosed",
    "ClientError",
    "Deployment",
    "DeploymentFailed",
    "DeploymentState",
    "Model",
    "ModelDetails",
    "Prediction",
    "Ref",
    "ServerInfo",
    "Version",
    "__version__",
]

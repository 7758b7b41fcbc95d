"""grpcio and scikit-learn by hand: what one writes in an afternoon, on grpc.aio and uvloop.

`python handwritten.py PORT FOLDER`: one process; `FOLDER/<model>.joblib` are the models.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import joblib
import uvloop

messages, services = grpc.protos_and_services("predictor.proto")


class Predictor(services.PredictorServicer):  # type: ignore[name-defined]
    def __init__(self, folder: Path) -> None:
        self._models = {path.stem: joblib.load(path) for path in folder.glob("*.joblib")}

    async def Predict(self, request, context):  # noqa: N802, ARG002 (the contract's)
        found = self._models[request.model].predict_proba([list(request.features)])
        return messages.PredictReply(probabilities=found[0])


async def main(port: int, folder: Path) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    services.add_PredictorServicer_to_server(Predictor(folder), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))

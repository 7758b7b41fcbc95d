"""PyTriton with Triton's dynamic batching. Runs in an environment of its own.

`python pytriton_server.py GRPC_PORT HTTP_PORT FOLDER`: `FOLDER/<model>.joblib` are the models.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import joblib
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def bind(triton: Triton, name: str, model) -> None:
    @batch
    def infer(x):
        return {"probabilities": model.predict_proba(x)}

    triton.bind(
        name,
        infer,
        inputs=[Tensor(name="x", dtype=np.float64, shape=(model.n_features_in_,))],
        outputs=[Tensor(name="probabilities", dtype=np.float64, shape=(-1,))],
        # No delay: what is queued goes as a batch, and one caller does not wait.
        config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
    )


def main(grpc_port: int, http_port: int, folder: Path) -> None:
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        http_address="127.0.0.1",
        http_port=http_port,
        allow_metrics=False,
    )
    # Without it Triton's own processes outlive this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Triton(config=config) as triton:
        for path in folder.glob("*.joblib"):
            bind(triton, path.stem, joblib.load(path))
        triton.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

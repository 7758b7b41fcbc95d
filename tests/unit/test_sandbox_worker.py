"""A worker in a process of its own, asked over its socket."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pushserve_runtime.frames import HEADER, Array, Kind, encode_arrays, encode_frame
from pushserve_runtime.signature import DType, Layout
from pushserve_sandbox.prediction.row_arrays import arrays_of, records_array

X, y = load_iris(return_X_y=True)
MODEL = LogisticRegression(max_iter=500).fit(X, np.array(["a", "b", "c"])[y])
LABEL, BOTH = 1, 3


def matrix(rows) -> list[Array]:
    return [Array(DType.FLOAT64, np.ascontiguousarray(rows, "<f8"))]


def _body(rows) -> list:
    return encode_arrays(BOTH, len(rows), matrix(rows))


@pytest.fixture(scope="module")
def shared(tmp_path_factory, start_worker):
    folder = tmp_path_factory.mktemp("model")
    joblib.dump(MODEL, folder / "model.joblib")
    spec = {"folder": str(folder), "format": "joblib", "artifact": "model.joblib"}
    return start_worker(spec)


@pytest.fixture
def worker(shared):
    """A worker of MODEL that has no other client."""
    yield shared
    shared.hang_up()


def test_it_greets(worker):
    client = worker.client()

    client.sock.sendall(b"".join(encode_frame(5, Kind.HELLO)))
    request, kind, body = client.receive()

    assert {"ready": True} == worker.said
    assert (5, Kind.READY) == (request, kind)
    assert {"pid": worker.process.pid} == json.loads(body)


def test_answers_equal_sklearns(worker):
    """Several requests in one write, of several sizes and outputs, each get their own rows."""
    client = worker.client()
    parts = {1: X[:1], 2: X[3:10], 3: X[60:61], 4: X[100:150]}
    for request, rows in parts.items():
        client.send(request, matrix(rows), LABEL if request % 2 else BOTH)

    answers = dict(client.answer() for _ in parts)

    for request, rows in parts.items():
        label, *probabilities = answers[request]
        assert MODEL.predict(rows).tolist() == label
        assert (request % 2 == 0) == bool(probabilities)
        for values in probabilities:
            assert np.allclose(MODEL.predict_proba(rows), values, rtol=1e-12)


def test_one_bad_request_among_many(worker):
    """Only the one with a NaN is refused."""
    client = worker.client()
    bad = {7, 40}
    for request in range(64):
        row = X[request : request + 1].copy()
        if request in bad:
            row[0, 2] = np.nan
        client.send(request, matrix(row))

    answers = dict(client.answer() for _ in range(64))

    for request, (answer,) in answers.items():
        expected = MODEL.predict(X[request : request + 1]).tolist()
        assert ("MODEL_REJECTED" if request in bad else expected) == answer


def test_a_request_that_nobody_waits_for_is_not_computed(worker):
    """Not those of others with the same number, and not one that was answered before."""
    client, other = worker.client(), worker.client()
    body = _body(X[:1])
    frames = [
        *encode_frame(1, Kind.PREDICT, body),
        *encode_frame(2, Kind.PREDICT, body),
        *encode_frame(1, Kind.CANCEL),
        *encode_frame(77, Kind.CANCEL),
    ]
    client.sock.sendall(b"".join(frames))
    assert {1: Kind.DROPPED, 2: Kind.RESULT} == dict(client.receive()[:2] for _ in range(2))
    client.sock.sendall(b"".join(encode_frame(2, Kind.CANCEL)))
    other.send(1, matrix(X[:1]))
    assert 1 == other.answer()[0]
    client.send(2, matrix(X[:1]))
    assert 2 == client.answer()[0]


def test_several_connections(worker):
    clients = [worker.client() for _ in range(5)]
    for index, client in enumerate(clients):
        for request in range(20):
            client.send(request, matrix(X[index * 20 + request][None]))

    for index, client in enumerate(clients):
        answers = dict(client.answer() for _ in range(20))
        expected = MODEL.predict(X[index * 20 : index * 20 + 20]).tolist()
        assert expected == [answers[request][0][0] for request in range(20)]


def test_large_request_in_pieces(worker):
    """One that does not fit into one read, nor its answer into one write."""
    client = worker.client()
    rows = np.tile(X, (200, 1))

    client.send(1, matrix(rows), BOTH)
    _, (labels, probabilities) = client.answer()

    assert MODEL.predict(rows).tolist() == labels
    assert (len(rows), 3) == np.shape(probabilities)


def test_client_that_does_not_read_holds_up_nobody(worker):
    lazy, other = worker.client(), worker.client()
    lazy.sock.setblocking(False)
    frame = b"".join(encode_frame(1, Kind.PREDICT, _body(np.tile(X, (20, 1)))))
    try:
        for _ in range(2000):
            lazy.sock.sendall(frame)
    except BlockingIOError:
        pass  # the worker has stopped taking more from it

    other.send(9, matrix(X[:1]))

    assert (9, [["a"]]) == other.answer()
    assert worker.process.is_alive()


def test_half_a_frame_then_close(worker):
    client = worker.client()
    client.send(1, matrix(X[:1]))
    assert (1, [["a"]]) == client.answer()
    client.sock.sendall(b"".join(encode_frame(2, Kind.PREDICT, _body(X)))[:100])
    client.sock.close()

    other = worker.client()
    other.send(3, matrix(X[:1]))

    assert (3, [["a"]]) == other.answer()


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(4, 1, Kind.PREDICT),
        HEADER.pack((1 << 30) + 1, 1, Kind.PREDICT),
        HEADER.pack(8, 1, Kind.PREDICT),
        HEADER.pack(8, 1, Kind.RESULT),
        HEADER.pack(8, 1, 99),
        b"".join(encode_frame(1, Kind.PREDICT, [b"\xff" * 64])),
        b"".join(encode_frame(1, Kind.PREDICT, _body(X[:1, :3]))),
        b"".join(encode_frame(1, Kind.PREDICT, _body(X[:0]))),
        b"".join(encode_frame(1, Kind.PREDICT, _body(X[:1])[:-2])),
    ],
    ids=["size", "too large", "short", "kind", "no kind", "bytes", "narrow", "no rows", "cut"],
)
def test_malformed_frames_close_that_connection_only(worker, data):
    good, bad = worker.client(), worker.client()
    bad.sock.sendall(data)

    assert bad.receive() is None

    good.send(1, matrix(X[:1]))
    assert (1, [["a"]]) == good.answer()


def test_unknown_outputs_close_the_connection(worker):
    client = worker.client()
    client.send(1, matrix(X[:1]), mask=1 << 20)

    assert client.receive() is None


def test_end_of_the_channel_ends_it_after_the_queue(folder, start_worker):
    """What was sent before is answered, then the process ends by itself."""
    joblib.dump(MODEL, folder.path / "model.joblib")
    worker = start_worker(folder.spec())
    client = worker.client()
    for request in range(50):
        client.send(request, matrix(X[request : request + 1]))

    assert 0 == worker.stop()
    assert set(range(50)) == {client.answer()[0] for _ in range(50)}
    assert client.receive() is None


def test_model_that_cannot_be_loaded(folder, start_worker):
    folder.write("model.joblib", b"")

    worker = start_worker(folder.spec())

    assert not worker.said["ready"]
    assert "ARTIFACT_UNREADABLE" == worker.said["reason"]
    assert 0 == worker.wait()


def test_tables_with_nulls_from_several_requests(folder, start_worker):
    """Requests with and without nulls are joined."""
    frame = pd.DataFrame({"colour": ["red", None, "blue"] * 6, "size": [1.0, np.nan, 3.0] * 6})
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["colour"]),
        (SimpleImputer(), ["size"]),
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 1] * 6)
    built = folder.signature(model)
    client = start_worker(folder.spec(signature=built.to_json())).client()
    rows = [["red", 1.0], [None, 2.0], ["blue", None], [None, None]]

    for request, row in enumerate(rows):
        client.send(request, arrays_of(Layout.TABLE, built.inputs, [row]), BOTH)
    answers = dict(client.answer() for _ in rows)

    expected = model.predict_proba(pd.DataFrame(rows, columns=frame.columns))
    assert np.allclose(expected, [answers[i][1][0] for i in range(4)], rtol=1e-12)


def test_predict_py_batches_and_fails_alone(folder, start_worker):
    folder.write(
        "predict.py",
        "import sys\n"
        "def predict(input):\n"
        "    print('noise')\n"
        "    if input['a'] is None: raise RuntimeError('secret')\n"
        "    if input['a'] == 'exit': sys.exit(1)\n"
        "    return {'n': input['a'] * 2}\n",
    )
    worker = start_worker(folder.spec(format="predict.py", artifact=None))
    client = worker.client()
    values = [1, None, "x", "exit", 3]

    for request, value in enumerate(values):
        client.send(request, [records_array([{"a": value}])])
    client.send(5, [records_array([{}])])
    client.send(6, [records_array([{"a": 1}, {"a": 2}])])
    answers = dict(client.answer() for _ in range(7))

    assert [[[{"n": 2}]], ["MODEL_FAILED"], [[{"n": "xx"}]], ["MODEL_FAILED"]] == [
        answers[i] for i in range(4)
    ]
    assert ["MODEL_REJECTED"] == answers[5]
    assert [[{"n": 2}, {"n": 4}]] == answers[6]


def test_wrong_number_of_rows_is_no_answer(folder, start_worker):
    folder.write("predict.py", "def predict_batch(rows):\n    return [{}]\n")
    client = start_worker(folder.spec(format="predict.py", artifact=None)).client()

    client.send(1, [records_array([{}, {}])])

    assert (1, ["ANSWER_INVALID"]) == client.answer()

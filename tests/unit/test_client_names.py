"""Inputs without names: texts, a Series, columns that are numbered; the signature names them."""

import asyncio

import numpy as np
import pandas as pd
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import AsyncClient, BadData, Client


@pytest.fixture
def service(fake_server):
    """One model of a text, one of three columns that scikit-learn knows by position."""
    service = fake_server.service
    echo = service.models["echo"]
    text = pb.Feature(name="text", dtype=pb.DATA_TYPE_STRING)
    numbered = [pb.Feature(name=f"x{i}", dtype=pb.DATA_TYPE_FLOAT64) for i in range(3)]
    service.features |= {"texts": [text], "numbered": numbered, "own": []}
    service.features["named"] = [pb.Feature(name=name) for name in "012"]
    for name in ("texts", "numbered", "own", "named"):
        service.models[name] = echo
    return service


def names(service) -> list[str]:
    return [column.name for column in service.requests[-1].table.columns]


TEXTS = {
    "list": ["a", "b"],
    "tuple": ("a", "b"),
    "array": np.array(["a", "b"]),
    "object array": np.array(["a", "b"], dtype=object),
    "Series": pd.Series(["a", "b"]),
    "filtered Series": pd.Series(["x", "a", "b"])[1:],
}


@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("stream", [False, True])
def test_texts(service, fake_server, form, stream):
    """To a model of one text."""
    with Client(fake_server.address, timeout=10) as client:
        if stream:
            list(client.predict_stream("texts", [TEXTS[form]]))
        else:
            client.predict("texts", TEXTS[form])

    assert ["text"] == names(service)
    assert ["a", "b"] == list(service.requests[-1].table.columns[0].strings.values)


def test_texts_by_asyncio(service, fake_server):
    async def story():
        async with AsyncClient(fake_server.address, timeout=10) as client:
            await client.predict("texts", ["a"], version=2)
            return [one async for one in client.predict_stream("texts", [["a"], ["b"]])]

    assert 2 == len(asyncio.run(story()))
    get, predict, *_ = service.requests
    assert (2, 2) == (get.version, predict.version)
    assert ["text"] == names(service)


def test_a_series_with_a_name_needs_no_question(service, fake_server):
    with Client(fake_server.address, timeout=10) as client:
        client.predict("texts", pd.Series(["a"], name="text"))

    assert 1 == len(service.requests)
    assert ["text"] == names(service)


@pytest.mark.parametrize(
    ("model", "message"),
    [("iris", "the model takes length, code: give a dict"), ("own", "takes any JSON object")],
)
def test_texts_to_another_model(service, fake_server, model, message):
    """What it takes, in place of a circle."""
    with (
        Client(fake_server.address, timeout=10) as client,
        pytest.raises(BadData, match=message),
    ):
        client.predict(model, ["a"])


NUMBERED = {
    "frame": pd.DataFrame([[1.0, 2.0, 3.0]]),
    "mixed frame": pd.DataFrame({0: [1], 1: [2.0], 2: [3.0]}),
    "dict": {0: [1.0], 1: [2.0], 2: [3.0]},
    "texts as names": {"0": [1.0], "1": [2.0], "2": [3.0]},
    "rows": [{0: 1.0, 1: 2.0, 2: 3.0}],
}


@pytest.mark.parametrize("form", NUMBERED)
@pytest.mark.parametrize(
    ("model", "expected"), [("numbered", ["x0", "x1", "x2"]), ("named", ["0", "1", "2"])]
)
def test_numbered_columns(service, fake_server, form, model, expected):
    """By position, unless the model has columns of these names."""
    with Client(fake_server.address, timeout=10) as client:
        client.predict(model, NUMBERED[form])

    request = service.requests[-1]
    rows = [sorted((n, v.number_value) for n, v in row.fields.items()) for row in request.rows]
    if rows:
        assert [list(zip(expected, [1.0, 2.0, 3.0], strict=True))] == rows
    else:
        assert expected == names(service)


def test_numbers_in_another_order_are_left_alone(service, fake_server):
    """Whether number or position is meant, nobody can know: the server refuses them by name."""
    with Client(fake_server.address, timeout=10) as client:
        client.predict("numbered", pd.DataFrame([[1.0, 2.0, 3.0]], columns=[2, 0, 1]))

    assert ["2", "0", "1"] == names(service)
    assert 1 == len(service.requests)

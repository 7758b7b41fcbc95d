"""Which graphs may run in a server process, and whether they take what is proved of them."""

import numpy as np
import onnx
import pytest
from onnx import helper

from pushserve_runtime.graph_bounds import RUN_BYTES, GraphBounds, Growth
from pushserve_runtime.onnx_session import open_session
from pushserve_sandbox.admission.admit import admit
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.tensors import Point, Tensor
from pushserve_sandbox.admission.traversal import Traversal
from tests.fixtures import skl2onnx_exports
from tests.fixtures.graphs import (
    DOUBLE,
    FLOAT,
    HONEST,
    INT64,
    constant,
    graph,
    node,
    value,
)
from tests.fixtures.harmful_graphs import HARMFUL, ensemble, many_nodes

POINTS = (Point(2, 7, 11), Point(3, 7, 11), Point(4, 7, 11))


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of what skl2onnx gives."""
    return skl2onnx_exports.export(tmp_path_factory.mktemp("exports"))


@pytest.mark.parametrize("name", HARMFUL)
def test_what_harms_a_server_process_is_kept_out(name):
    with pytest.raises(NotAdmitted):
        admit(HARMFUL[name]())


@pytest.mark.parametrize("name", HONEST)
def test_networks_are_admitted(name):
    model = HONEST[name]()
    onnx.checker.check_model(model)

    check_sizes(model)


@pytest.mark.parametrize("name", skl2onnx_exports.ADMITTED)
def test_exports_of_skl2onnx_are_admitted(exports, name):
    check_sizes(onnx.load(exports / f"{name}.onnx"))


@pytest.mark.parametrize("name", skl2onnx_exports.LOOPED)
def test_distances_by_a_loop_are_not(exports, name):
    with pytest.raises(NotAdmitted, match="control flow: Scan"):
        admit(onnx.load(exports / f"{name}.onnx"))


def check_sizes(model):
    """Insist that a graph is admitted and that ONNX Runtime gives what was said of its tensors."""
    bounds = admit(model)
    taken = model.graph.input[0]
    width = taken.type.tensor_type.shape.dim[1].dim_value
    kind = taken.type.tensor_type.elem_type
    inputs = {taken.name: Tensor(kind, tuple((p.rows, width) for p in POINTS))}
    traversal = Traversal(model, inputs, POINTS)
    traversal.run()
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for i, point in enumerate(POINTS):
        real = every_tensor(model, np.ones((point.rows, width), dtype))
        for name, shape in real.items():
            assert traversal._tensors[name].shapes[i] == shape.shape, name
        assert bounds.memory.at(point.rows) >= sum(array.nbytes for array in real.values())


def every_tensor(model, rows):
    """Run a graph with every tensor for an output, but maps and those that are sequences."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    names = [n for item in model.graph.node if item.op_type != "ZipMap" for n in item.output if n]
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(opened.SerializeToString())
    results = session.run(names, {model.graph.input[0].name: rows})
    return dict(zip(names, map(np.asarray, results), strict=True))


def test_memory_grows_by_the_row():
    """X and its sum, 32 bytes a row each, X twice for what is fed; a constant is the graph's."""
    bounds = admit(graph([node("Add", "X w", "Y")], [constant("w", np.ones(4), "f4")]))

    assert {"r": 16 + 16 + 16} == bounds.memory.coefficients
    assert RUN_BYTES // 48 == bounds.rows_at_once()


def test_wide_rows_are_run_a_few_at_a_time():
    wide = graph(
        [node("MatMul", "X w", "w1"), node("ReduceSum", "w1 one", "Y")],
        [constant("w", np.ones((4, 100_000)), "f4"), constant("one", [1], "i8")],
    )

    bounds = admit(wide)

    assert bounds.rows_at_once() == pytest.approx(RUN_BYTES / 400_000, rel=0.01)
    assert bounds.fits(bounds.rows_at_once())
    assert not bounds.fits(bounds.rows_at_once() + 1)


def test_a_width_that_is_open_is_given():
    open_ = graph(
        [node("Identity", "X", "Y")],
        takes=[value("X", FLOAT, [None, None])],
        gives=[value("Y", FLOAT, [None, None])],
    )

    assert {"r": 3 * 4 * 7} == admit(open_, 7).memory.coefficients
    with pytest.raises(NotAdmitted, match="number of columns is open"):
        admit(open_)


def test_the_authors_shapes_are_not_believed():
    """value_info that says of a large tensor that it is small."""
    model = graph(
        [node("Tile", "X times", "t"), node("ReduceSum", "t one", "Y")],
        [constant("times", [1, 10_000_000], "i8"), constant("one", [1], "i8")],
    )
    model.graph.value_info.append(value("t", FLOAT, [None, 4]))

    with pytest.raises(NotAdmitted, match="MiB for a row"):
        admit(model)


@pytest.mark.parametrize("kind", ["Div", "Mod"])
def test_whole_numbers_by_a_constant(kind):
    model = graph(
        [node(kind, "X seven", "Y")],
        [constant("seven", [7], "i8")],
        takes=[value("X", INT64, [None, 1])],
        gives=[value("Y", INT64, [None, 1])],
    )

    assert admit(model).rows_at_once() > 1000


def test_fractions_by_an_input():
    takes = [value("X", DOUBLE, [None, 1]), value("D", DOUBLE, [None, 1])]
    gives = [value("Y", DOUBLE, [None, 1])]

    assert admit(graph([node("Div", "X D", "Y")], takes=takes, gives=gives))


def test_trees_that_hold_together():
    check_sizes(ensemble())
    check_sizes(many_nodes(300))


def test_bounds_travel_as_json():
    bounds = GraphBounds(Growth({"": 8.0, "r": 4.0, "rt": 2.0}), Growth({"r": 3.0}), 10, 2)

    assert bounds == GraphBounds.from_json(bounds.to_json())
    for change in ({"rules": 0}, {"memory": {"x": 1}}, {"work": {"r": -1}}, {"kinds": "many"}):
        with pytest.raises(ValueError, match=r"."):
            GraphBounds.from_json({**bounds.to_json(), **change})


def test_a_run_with_terms_counts_kinds_that_can_be_there():
    bounds = GraphBounds(Growth({"rk": 8.0}), Growth({}), kinds=10**9)

    assert bounds.fits(1, 1000)
    assert 8 * 50 * 50_000 < RUN_BYTES < 8 * 50 * 50 * 50_000
    assert not bounds.fits(50, 50_000)

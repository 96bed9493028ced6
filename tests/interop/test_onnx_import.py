"""Networks in ONNX files give what ONNX's own evaluators give; skipped where onnx or onnxruntime is not installed."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from recurlm.interop import load_onnx  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
CLOSE = 1e-5  # of outputs below 1 in size: two orders of float32 sums
EXPORTED = 60
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def graph_file(
    folder: Path, nodes: list[Any], inputs: dict[str, Any], outputs: list[str], arrays: dict[str, Any]
) -> Path:
    """``inputs`` have a shape, or a shape and a type."""
    declared = []
    for name, shape in inputs.items():
        kind = onnx.TensorProto.FLOAT
        if isinstance(shape, tuple):
            shape, kind = shape
        declared.append(helper.make_tensor_value_info(name, kind, shape))
    graph = helper.make_graph(
        nodes,
        "graph",
        declared,
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(path: Path, feed: dict[str, Any], reference: bool = False) -> list[Any]:
    if reference:
        return list(ReferenceEvaluator(onnx.load(path)).run(None, feed))
    return list(runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed))


def predict(path: Path, *x: Any) -> list[Any]:
    outputs = load_onnx(path).predict(list(x) if len(x) > 1 else x[0], verbose=0)
    return outputs if isinstance(outputs, list) else [outputs]


def weights(rng: np.random.Generator, kind: str, directions: int, width: int, units: int) -> dict[str, Any]:
    rows = GATES[kind] * units
    shapes = {"W": (directions, rows, width), "R": (directions, rows, units), "B": (directions, 2 * rows)}
    return {name: 0.5 * rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def cell(kind: str, inputs: list[str], units: int, **attributes: Any) -> Any:
    outputs = ["Y", "Y_h"] + (["Y_c"] if kind == "LSTM" else [])
    return helper.make_node(kind, inputs, outputs, "cell", hidden_size=units, **attributes)


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"]}),
        ("GRU", {"linear_before_reset": 0}),
        ("GRU", {"linear_before_reset": 1}),
        ("LSTM", {}),
    ],
)
def test_an_operator_alone(
    kind: str, attributes: dict[str, Any], direction: str, lengths: bool, initial: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    steps, batch, width, units = 7, 4, 3, 5
    count = 2 if direction == "bidirectional" else 1
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * count}
    states = (["h"] + (["c"] if kind == "LSTM" else [])) if initial else []
    feed = {"x": rng.standard_normal((steps, batch, width), np.float32)}
    feed |= {"lengths": np.array([7, 4, 1, 6], np.int32)} if lengths else {}
    feed |= {name: rng.standard_normal((count, batch, units), np.float32) for name in states}
    declared: dict[str, Any] = {"x": [None, None, width]}
    declared |= {"lengths": ([None], onnx.TensorProto.INT32)} if lengths else {}
    declared |= {name: [count, None, units] for name in states}
    node = cell(
        kind, ["x", "W", "R", "B", "lengths" if lengths else "", *states], units, direction=direction, **attributes
    )
    path = graph_file(tmp_path, [node], declared, list(node.output), weights(rng, kind, count, width, units))
    y, *finals = run(path, feed)  # (T, S, B, H), (S, B, H)
    x = [feed["x"].transpose(1, 0, 2)] + ([feed["lengths"][:, None].astype(np.float32)] if lengths else [])
    outputs = predict(path, *x, *(state for name in states for state in feed[name]))
    expected = [*y.transpose(1, 2, 0, 3), *(state for final in finals for state in final)]
    assert len(outputs) == len(expected)
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("kind", GATES)
def test_batch_first_layout(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((4, 7, 3), np.float32)
    # Of GRUs, only this variant is right in ONNX's reference.
    node = cell(kind, ["x", "W", "R", "B"], 5, layout=1, **({"linear_before_reset": 1} if kind == "GRU" else {}))
    path = graph_file(tmp_path, [node], {"x": [None, None, 3]}, ["Y"], weights(rng, kind, 1, 3, 5))
    expected = run(path, {"x": x}, reference=True)[0]
    np.testing.assert_allclose(predict(path, x)[0], expected.reshape(4, 7, 5), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("seed", range(EXPORTED))
def test_what_pytorch_exports(seed: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tests.interop.test_pytorch import Network, outputs_of

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Network(rng)
    network.last_only = network.last_only and not network.rnn.bidirectional
    network.rnn.batch_first = bool(rng.random() < 0.7)
    x = network.inputs(rng)
    x = x.astype(np.int64) if network.embedding is not None else x
    given = x if network.rnn.batch_first else np.ascontiguousarray(np.swapaxes(x, 0, 1))
    axes = {"x": {0: "a", 1: "b"}}
    torch.onnx.export(
        network,
        (torch.from_numpy(given),),
        tmp_path / "m.onnx",
        input_names=["x"],
        dynamic_axes=axes,
        dynamo=False,
        opset_version=int(rng.integers(12, 19)),
    )
    expected = outputs_of(network, given)
    if not network.rnn.batch_first and not network.last_only:
        expected = np.swapaxes(expected, 0, 1)
    np.testing.assert_allclose(predict(tmp_path / "m.onnx", x)[0], expected, rtol=CLOSE, atol=CLOSE)


def refused(folder: Path, nodes: list[Any], arrays: dict[str, Any], inputs: dict[str, Any] | None = None) -> str:
    path = graph_file(folder, nodes, inputs or {"x": [None, None, 3]}, [nodes[-1].output[0]], arrays)
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_onnx(path)
    return str(caught.value)


def test_what_recurlm_has_not_is_named(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1), "LSTM", 1, 3, 2)
    arrays["P"] = np.zeros((1, 6), np.float32)
    node = cell("LSTM", ["x", "W", "R", "B", "", "", "", "P"], 2)
    assert "cell: peepholes are not supported" in refused(tmp_path, [node], arrays)
    for attributes, message in (
        ({"clip": 3.0}, "cell: clip is not supported"),
        ({"input_forget": 1}, "cell: input_forget is not supported"),
        ({"activations": ["Relu", "Tanh", "Tanh"]}, "cell: activations Relu, Tanh, Tanh are not supported"),
        ({"direction": "sideways"}, "cell: unknown direction 'sideways'"),
    ):
        assert message in refused(tmp_path, [cell("LSTM", ["x", "W", "R", "B"], 2, **attributes)], arrays)
    assert "the weights are of 2 units" in refused(tmp_path, [cell("LSTM", ["x", "W", "R", "B"], 3)], arrays)
    convolution = helper.make_node("Conv", ["x", "W"], ["y"], "conv")
    assert "conv: the operator Conv is not supported" in refused(tmp_path, [convolution], arrays)
    average = helper.make_node("Gather", ["Y", "index"], ["z"], "one", axis=0)
    arrays["index"] = np.array(2, np.int64)
    nodes = [cell("LSTM", ["x", "W", "R", "B"], 2), average]
    assert "one: of a sequence only the last step of a forward layer without lengths can be taken" in refused(
        tmp_path, nodes, arrays
    )


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_onnx(tmp_path / "none.onnx")
    path = graph_file(
        tmp_path,
        [cell("GRU", ["x", "W", "R", "B"], 2)],
        {"x": [None, None, 3]},
        ["Y"],
        weights(np.random.default_rng(1), "GRU", 1, 3, 2),
    )
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"\w"):
            load_onnx(path)
    rng = np.random.default_rng(2)
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        with contextlib.suppress(ValueError):
            load_onnx(path)


def test_weights_in_other_files_are_not_read(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1), "GRU", 1, 30, 20)
    path = graph_file(tmp_path, [cell("GRU", ["x", "W", "R", "B"], 20)], {"x": [None, None, 30]}, ["Y"], arrays)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ValueError, match="stands in another file, which is not opened"):
        load_onnx(path)


def test_initial_states_of_several_layers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Decoder(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.LSTM(3, 4, 2)

        def forward(self, x: Any, h: Any, c: Any) -> Any:
            y, (h, c) = self.rnn(x, (h, c))
            return y, h, c

    torch.manual_seed(1)
    decoder = Decoder()
    given = [torch.randn(5, 2, 3), torch.randn(2, 2, 4), torch.randn(2, 2, 4)]
    names = ["x", "h", "c"]
    axes = {"x": {0: "t", 1: "b"}, "h": {1: "b"}, "c": {1: "b"}}
    torch.onnx.export(decoder, tuple(given), tmp_path / "d.onnx", input_names=names, dynamic_axes=axes, dynamo=False)
    with torch.no_grad():
        y, h, c = (each.numpy() for each in decoder(*given))
    x, *states = (each.numpy() for each in given)
    outputs = predict(tmp_path / "d.onnx", np.swapaxes(x, 0, 1), *(each for state in states for each in state))
    expected = [np.swapaxes(y, 0, 1), *h, *c]
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=CLOSE, atol=CLOSE)


def gru(x: str, name: str, units: int, *more: str, **attributes: Any) -> Any:
    inputs = [x, f"W{name}", f"R{name}", f"B{name}", *more]
    return helper.make_node("GRU", inputs, [f"Y{name}", f"H{name}"], f"gru{name}", hidden_size=units, **attributes)


def named(weights: dict[str, Any], name: str) -> dict[str, Any]:
    return {what + name: array for what, array in weights.items()}


def test_what_would_give_other_outputs_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    lengths = {"x": [None, None, 3], "n": ([None], onnx.TensorProto.INT32)}
    axis = {"axis": np.array([1]), "last": np.array(-1), "four": np.array([2, 4], np.int32)}
    arrays = {**named(weights(rng, "GRU", 1, 3, 4), "1"), **named(weights(rng, "GRU", 1, 4, 2), "2"), **axis}
    arrays |= {"K": rng.standard_normal((4, 5), np.float32), "h": np.zeros((1, 2, 4), np.float32)}
    squeeze = helper.make_node("Squeeze", ["Y1", "axis"], ["s"], "squeeze")
    first, padded = gru("x", "1", 4), gru("x", "1", 4, "n")
    last = helper.make_node("Gather", ["s", "last"], ["z"], "last", axis=0)
    assert "forward layer without lengths" in refused(tmp_path, [padded, squeeze, last], arrays, lengths)
    assert "padding by n" in refused(tmp_path, [padded, squeeze, gru("s", "2", 2)], arrays, lengths)
    assert "lengths must be an input" in refused(tmp_path, [gru("x", "1", 4, "four")], arrays)
    turned = helper.make_node("Transpose", ["s"], ["t"], "turn", perm=[1, 2, 0])
    softmax = helper.make_node("Softmax", ["t"], ["p"], "softmax", axis=2)
    assert "must be over the features" in refused(tmp_path, [first, squeeze, turned, softmax], arrays)
    assert "with the features last" in refused(
        tmp_path, [first, squeeze, turned, helper.make_node("MatMul", ["t", "K"], ["m"], "product")], arrays
    )
    assert "must have the features last" in refused(tmp_path, [first, squeeze, turned], arrays)
    both = {**arrays, **named(weights(rng, "GRU", 2, 3, 4), "1")}
    two = gru("x", "1", 4, direction="bidirectional")
    assert "one tensor with" in refused(tmp_path, [two, helper.make_node("MatMul", ["H1", "K"], ["m"], "p")], both)
    log = helper.make_node("LogSoftmax", ["s"], ["l"], "log", axis=-1)
    twice = [first, squeeze, log, helper.make_node("MatMul", ["l", "K"], ["m"], "p")]
    assert "LogSoftmax must be the last operator" in refused(tmp_path, twice, arrays)
    shape = helper.make_node("Shape", ["x"], ["shape"])
    zeros = helper.make_node("ConstantOfShape", ["shape"], ["zeros"])
    learned = helper.make_node("Add", ["zeros", "h"], ["h0"], "learned")
    assert "initial state h0" in refused(tmp_path, [shape, zeros, learned, gru("x", "1", 4, "", "h0")], arrays)
    foreign = helper.make_node("GRU", first.input, ["Y1"], "theirs", domain="com.theirs", hidden_size=4)
    assert "the operator com.theirs.GRU is not supported" in refused(tmp_path, [foreign], arrays)


def test_softmax_of_earlier_versions_is_over_all_axes_behind_the_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    nodes = [gru("x", "1", 4), helper.make_node("Squeeze", ["Y1"], ["s"], "squeeze", axes=[1])]
    nodes += [helper.make_node("Softmax", ["s"], ["p"], "softmax")]
    path = graph_file(tmp_path, nodes, {"x": [None, None, 3]}, ["p"], named(weights(rng, "GRU", 1, 3, 4), "1"))
    model = onnx.load(path)
    model.opset_import[0].version = 11
    onnx.save(model, path)
    with pytest.raises(ValueError, match="softmax: Softmax must be over the features"):
        load_onnx(path)
    model.graph.node[-1].attribute.append(helper.make_attribute("axis", 2))
    onnx.save(model, path)
    x = rng.standard_normal((2, 5, 3), np.float32)
    expected = run(path, {"x": x.transpose(1, 0, 2)})[0].transpose(1, 0, 2)
    np.testing.assert_allclose(predict(path, x)[0], expected, rtol=CLOSE, atol=CLOSE)


def test_constants_in_other_files_are_not_read(tmp_path: Path) -> None:
    node = helper.make_node("Constant", [], ["W1"], value=numpy_helper.from_array(np.zeros((1, 12, 3), np.float32)))
    tensor = node.attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    arrays = named(weights(np.random.default_rng(1), "GRU", 1, 3, 4), "1")
    del arrays["W1"]
    assert "stands in another file, which is not opened" in refused(tmp_path, [node, gru("x", "1", 4)], arrays)


def test_inputs_keep_their_names(tmp_path: Path) -> None:
    arrays = named(weights(np.random.default_rng(1), "GRU", 1, 3, 4), "1")
    inputs = {"x": [None, None, 3], "state": [1, None, 4]}
    path = graph_file(tmp_path, [gru("x", "1", 4, "", "state")], inputs, ["Y1"], arrays)
    assert [tensor.name for tensor in load_onnx(path).inputs] == ["x", "state"]

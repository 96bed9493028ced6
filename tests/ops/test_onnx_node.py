"""The ONNX project's own RNN, GRU and LSTM operator cases (Apache-2.0, read from the shared data, never shipped)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.ops import calls
from tests.reference.cases import CellSpec, Float32, RecurrentCase

CASES = [
    "test_gru_batchwise",
    "test_gru_defaults",
    "test_gru_seq_length",
    "test_gru_with_initial_bias",
    "test_lstm_batchwise",
    "test_lstm_defaults",
    "test_lstm_with_initial_bias",
    "test_lstm_with_peepholes",
    "test_rnn_seq_length",
    "test_simple_rnn_batchwise",
    "test_simple_rnn_defaults",
    "test_simple_rnn_with_initial_bias",
]
# Position in ONNX's order (LSTM i o f g, GRU z r n) of each gate in the core's order (i f g o, z r n).
GATES = {"LSTM": [0, 2, 3, 1], "GRU": [0, 1, 2], "RNN": [0]}


def arrays(listed: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    return {a["name"]: np.array(a["data"], a["dtype"]).reshape(a["shape"]) for a in listed}


def core_layout(rows: npt.NDArray[Any], op: str) -> Float32:
    """(G*H, K) in ONNX's gate order -> (K, G*H) in the core's."""
    gates = np.split(rows.astype(np.float32), len(GATES[op]))
    return np.ascontiguousarray(np.concatenate([gates[g] for g in GATES[op]]).T)


def core_case(case: dict[str, Any]) -> RecurrentCase:
    """One direction, from a zero state."""
    op, attributes, inputs = case["op"], case["attributes"], arrays(case["inputs"])
    units = attributes["hidden_size"]
    x = inputs["X"].astype(np.float32)
    if attributes.get("layout", 0) == 1:  # batch first
        x = np.ascontiguousarray(x.transpose(1, 0, 2))
    spec = CellSpec(op.lower(), reset_after=bool(attributes.get("linear_before_reset", 0)))
    bias = None
    if "B" in inputs:
        both = [core_layout(b[:, None], op)[0] for b in np.split(inputs["B"][0], 2)]  # input, recurrent; (G*H,) each
        bias = np.stack(both) if op == "GRU" and spec.reset_after else both[0] + both[1]
    batch = x.shape[1]
    zeros = tuple(np.zeros((batch, units), np.float32) for _ in range(spec.states))
    dy = np.zeros((len(x), batch, units), np.float32)
    kernel, recurrent_kernel = core_layout(inputs["W"][0], op), core_layout(inputs["R"][0], op)
    return RecurrentCase(spec, x, kernel, recurrent_kernel, bias, zeros, dy, zeros)


@pytest.fixture(scope="module")
def decoded(data_path: Path) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = json.loads((data_path / "onnx_node" / "decoded.json").read_text())
    return cases


def test_every_case_is_listed(decoded: dict[str, dict[str, Any]]) -> None:
    assert sorted(decoded) == CASES


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, decoded: dict[str, dict[str, Any]], isa: str) -> None:
    case = decoded[name]
    if "P" in case["node_inputs"]:
        pytest.skip("peepholes are not supported")
    unknown = set(case["node_inputs"]) - {"X", "W", "R", "B"}
    unknown |= set(case["attributes"]) - {"hidden_size", "layout", "linear_before_reset"}
    assert not unknown, f"this test would ignore {unknown}"
    (h, *_) = calls.forward(core_case(case)).states  # (T + 1, B, H)
    outputs = arrays(case["outputs"])
    batch_first = case["attributes"].get("layout", 0) == 1
    expected = {"Y": h[1:, :, None].transpose(1, 0, 2, 3) if batch_first else h[1:, None], "Y_h": h[-1:]}
    if batch_first:
        expected["Y_h"] = expected["Y_h"].transpose(1, 0, 2)
    assert outputs.keys() <= expected.keys()
    for output, values in outputs.items():
        # ONNX's runner compares with rtol 1e-3; these values are of order one and a few steps deep.
        np.testing.assert_allclose(expected[output], values, rtol=0, atol=1e-6, err_msg=output)

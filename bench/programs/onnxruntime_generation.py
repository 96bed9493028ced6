"""ONNX Runtime one token at a time: a graph of Gather, LSTM, MatMul and ArgMax, its state bound to fixed buffers."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bench.configs import Config, Float, Ids
from bench.programs import fastest

TRIAL_TOKENS = 8
OPSET = 17


class OnnxGenerator:
    """Two bindings of one session: each reads the buffers that the other writes, so that nothing is copied."""

    def __init__(self, config: Config, session: Any) -> None:
        self.session = session
        self.read_bytes = 4 * config.multiplied_weights
        self.buffers = [buffers(config), buffers(config)]
        self.logits = np.empty((1, 1, config.vocabulary), np.float32)
        self.bindings = [self.bind(*self.buffers), self.bind(*reversed(self.buffers))]
        self.turn = 0  # whose buffers hold what comes next

    def bind(self, source: dict[str, Any], target: dict[str, Any]) -> Any:
        binding = self.session.io_binding()
        for name, array in source.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in [*target.items(), ("logits", self.logits)]:
            name = name if name == "logits" else f"next_{name}"
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def begin(self, prompt: Ids) -> None:
        for array in self.buffers[self.turn].values():
            array[...] = 0
        for token in prompt[:-1]:
            self.buffers[self.turn]["ids"][...] = token
            self.step()
        self.buffers[self.turn]["ids"][...] = prompt[-1]

    def step(self) -> int:
        self.session.run_with_iobinding(self.bindings[self.turn])
        self.turn = 1 - self.turn
        return int(self.buffers[self.turn]["ids"][0, 0])

    def generate(self, count: int) -> Ids:
        return np.array([self.step() for _ in range(count)], np.int32)

    def log_probability(self, prompt: Ids) -> float:
        self.begin(prompt)
        self.step()
        logits = self.logits.astype(np.float64)
        return float(logits.max() - np.log(np.exp(logits).sum()))


def buffers(config: Config) -> dict[str, Any]:
    """Inputs of the graph, outputs of the one before."""
    states = itertools.product("hc", range(config.layers))
    return {"ids": np.zeros((1, 1), np.int64)} | {
        f"{kind}{layer}": np.zeros((1, 1, config.units), np.float32) for kind, layer in states
    }


def build(config: Config, weights: list[Float], threads: int, dtype: str) -> OnnxGenerator:
    del dtype
    model = graph(config, weights).SerializeToString()
    spinning = (False,) if threads == 1 else (False, True)
    variants = (OnnxGenerator(config, session(model, threads, spin)) for spin in spinning)
    return fastest(variants, lambda generator: generator.generate(TRIAL_TOKENS))


def session(model: bytes, threads: int, spin: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def graph(config: Config, weights: list[Float]) -> ModelProto:
    """One step: ids (1, 1) and the states (1, 1, H) to the logits, the next ids and states."""
    nodes = [helper.make_node("Gather", ["embedding", "ids"], ["x"])]
    arrays = {"embedding": weights[0], "kernel": weights[-2], "bias": weights[-1]}
    hidden = "x"
    for layer in range(config.layers):
        arrays |= lstm_arrays(layer, *weights[1 + 3 * layer : 4 + 3 * layer])
        inputs = [hidden, *(f"{name}{layer}" for name in "WRB"), "", f"h{layer}", f"c{layer}"]
        outputs = ["", f"next_h{layer}", f"next_c{layer}"]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=config.units))
        hidden = f"next_h{layer}"
    nodes += [
        helper.make_node("MatMul", [hidden, "kernel"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["next_ids"], axis=-1, keepdims=0),
    ]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in arrays.items()]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, config.vocabulary])
    body = helper.make_graph(
        nodes, "step", list(values(config, "")), [*values(config, "next_"), logits], initializer=initializers
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def lstm_arrays(layer: int, kernel: Float, recurrent_kernel: Float, bias: Float) -> dict[str, Float]:
    """Keras's gates i f g o and one bias in ONNX's layout: rows of gates i o f g, two biases."""

    def gates(array: Float) -> Float:
        i, f, g, o = np.split(array, 4)
        return np.concatenate([i, o, f, g])

    return {
        f"W{layer}": gates(kernel.T)[None],
        f"R{layer}": gates(recurrent_kernel.T)[None],
        f"B{layer}": np.concatenate([gates(bias), np.zeros_like(bias)])[None],
    }


def values(config: Config, prefix: str) -> Iterator[Any]:
    for name, array in buffers(config).items():
        yield helper.make_tensor_value_info(prefix + name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

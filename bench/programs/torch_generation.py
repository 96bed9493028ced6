"""PyTorch one token at a time, eager in ``inference_mode``; int8 by its dynamic quantisation."""

import itertools
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.configs import Config, Float, Ids
from bench.programs import fastest
from bench.programs.torch_training import TorchProgram

TRIAL_TOKENS = 2
INT8_ENGINES = ("x86", "onednn", "fbgemm")  # or, elsewhere than on x86, the default one


class TorchGenerator:
    """The layers of ``torch.nn``, or their quantised twins, and the settings under which they run."""

    def __init__(self, config: Config, modules: nn.ModuleList, weight_bytes: int, onednn: bool) -> None:
        self.embedding, self.cells, self.projection = modules
        self.read_bytes = config.multiplied_weights * weight_bytes
        self.onednn = onednn
        self.token: Tensor = torch.zeros(1, 1, dtype=torch.int64)  # (T, B)
        self.state: Any = None

    def begin(self, prompt: Ids) -> None:
        self.state = None
        with self.running():
            for token in prompt[:-1]:
                self.step(torch.tensor([[int(token)]]))
        self.token = torch.tensor([[int(prompt[-1])]])

    def generate(self, count: int) -> Ids:
        tokens = []
        with self.running():
            for _ in range(count):
                self.token = self.step(self.token).argmax(-1, keepdim=True)
                tokens.append(self.token)
        ids: Ids = torch.cat(tokens).numpy()[:, 0].astype(np.int32)
        return ids

    def log_probability(self, prompt: Ids) -> float:
        self.begin(prompt)
        with self.running():
            return float(self.step(self.token).log_softmax(-1).max())

    def step(self, token: Tensor) -> Tensor:
        """Logits (1, V)."""
        hidden, self.state = self.cells(self.embedding(token), self.state)
        logits: Tensor = self.projection(hidden[0])
        return logits

    def running(self) -> Any:
        torch.backends.mkldnn.set_flags(self.onednn)
        return torch.inference_mode()


def build(config: Config, weights: list[Float], threads: int, dtype: str) -> TorchGenerator:
    """For one row oneDNN's LSTM re-orders its weights in each call and PyTorch's own is often faster: try both."""
    torch.set_num_threads(threads)
    program = TorchProgram(config, weights)
    modules = nn.ModuleList([program.embedding, program.cells, program.projection])
    versions = [modules] if dtype == "float32" else quantized(modules)
    size = 4 if dtype == "float32" else 1
    variants = itertools.starmap(
        lambda version, onednn: TorchGenerator(config, version, size, onednn),
        itertools.product(versions, (True, False)),
    )
    return fastest(variants, lambda generator: generator.generate(TRIAL_TOKENS))


def quantized(modules: nn.ModuleList) -> list[nn.ModuleList]:
    """With each engine of this machine: the engine that packs a layer's weights also multiplies them."""
    quantization = torch.backends.quantized
    versions = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torchao will replace it one day
        for engine in [e for e in INT8_ENGINES if e in quantization.supported_engines] or [quantization.engine]:
            quantization.engine = engine
            versions.append(torch.ao.quantization.quantize_dynamic(modules, {nn.LSTM, nn.Linear}, torch.qint8))
    return versions

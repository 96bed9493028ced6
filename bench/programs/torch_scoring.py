"""PyTorch's log-probabilities of texts under ``inference_mode``: padded batches of texts of about one length."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.configs import FIRST_ID, Config, Float, Ids
from bench.programs import Scorer, fastest
from bench.programs.torch_training import TorchProgram

BATCHES = (16, 32, 64)  # texts in a batch, where not all are of one length
CHUNKS = (512, 1 << 30)  # rows of logits at a time; the last: all


class TorchScorer:
    """Sorted by length, padded to the longest of a batch; the padded batches are made beforehand, unmeasured."""

    def __init__(self, program: TorchProgram, texts: Sequence[Ids], batch: int, chunk: int) -> None:
        self.program, self.chunk = program, chunk
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        starts = np.cumsum([0, *map(len, texts)])
        places = np.concatenate([np.arange(starts[n], starts[n + 1]) for n in order])
        self.places = torch.from_numpy(places)
        self.batches = [padded([texts[n] for n in order[k : k + batch]]) for k in range(0, len(order), batch)]

    def __call__(self) -> Float:
        """(N,), in the order of the texts."""
        with torch.inference_mode():
            scores = torch.cat([self.score(*batch) for batch in self.batches])
            result = torch.empty_like(scores)
            result[self.places] = scores
        array: Float = result.numpy()
        return array

    def score(self, inputs: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """The targets' log-probabilities, text after text. inputs (T, B), targets (tokens,), valid (tokens,) of B*T."""
        hidden: Any = self.program.cells(self.program.embedding(inputs))[0]
        rows = hidden.transpose(0, 1).flatten(0, 1)[valid]  # what is padding needs no logits
        chunks = zip(rows.split(self.chunk), targets.split(self.chunk), strict=True)
        return torch.cat([-F.cross_entropy(self.program.projection(x), y, reduction="none") for x, y in chunks])


def padded(texts: Sequence[Ids]) -> tuple[Tensor, Tensor, Tensor]:
    steps = max(map(len, texts))
    inputs = np.full((len(texts), steps), FIRST_ID, np.int64)
    valid = np.zeros((len(texts), steps), bool)
    for row, text in enumerate(texts):
        inputs[row, 1 : len(text)] = text[:-1]
        valid[row, : len(text)] = True
    targets = torch.from_numpy(np.concatenate(texts).astype(np.int64))
    return torch.from_numpy(np.ascontiguousarray(inputs.T)), targets, torch.from_numpy(np.flatnonzero(valid))


def build(config: Config, weights: list[Float], texts: Sequence[Ids], threads: int, dtype: str) -> Scorer:
    del dtype
    torch.set_num_threads(threads)
    program = TorchProgram(config, weights)
    batches = (len(texts),) if len({len(text) for text in texts}) == 1 else BATCHES
    variants = (TorchScorer(program, texts, *sizes) for sizes in itertools.product(batches, CHUNKS))
    return fastest(variants, lambda scorer: scorer())

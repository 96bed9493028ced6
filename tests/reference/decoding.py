"""A language model one token at a time: embedding, stacked cells, projection; greedy decoding.

x = E[token];   each layer: s ← step(x, s), x = h;   logits = x W + b

The next token is the arg max of the logits among the tokens that are not banned; its log-probability is the model's
own, log_softmax(logits), with the banned tokens in the sum.
"""

from dataclasses import dataclass

import numpy as np

from tests.reference import Array, softmax
from tests.reference.recurrent import Cell, Parameters, State


@dataclass(frozen=True)
class LanguageModel:
    embedding: Array  # (V, D)
    layers: list[tuple[Cell, Parameters, State]]  # cell, its parameters, its zero state (1, H) each
    kernel: Array  # (H, V)
    bias: Array  # (V,)

    def step(self, token: int, states: list[State]) -> tuple[Array, list[State]]:
        """One token -> logits (V,) and the new state of each layer."""
        x = self.embedding[token][None]  # (1, D)
        new_states = []
        for (cell, parameters, _), state in zip(self.layers, states, strict=True):
            new, _ = cell.step(parameters, x, state)
            new_states.append(new)
            x = new[0]
        logits: Array = (x @ self.kernel + self.bias)[0]
        return logits, new_states

    def log_probs(self, tokens: list[int]) -> Array:
        """Log-probabilities (len(tokens), V) of what follows each token."""
        states = [zero for _, _, zero in self.layers]
        rows = []
        for token in tokens:
            logits, states = self.step(token, states)
            rows.append(softmax.log_softmax(logits))
        return np.stack(rows)

    def greedy(self, prompt: list[int], count: int, banned: list[int]) -> tuple[list[int], list[float]]:
        """Drawn ids and their log-probabilities, `count` each."""
        ids: list[int] = []
        log_probs: list[float] = []
        for _ in range(count):
            row = self.log_probs(prompt + ids)[-1]
            allowed = row.copy()
            allowed[banned] = -np.inf
            ids.append(int(allowed.argmax()))
            log_probs.append(float(row[ids[-1]]))
        return ids, log_probs

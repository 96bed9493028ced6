"""recurlm's core as ``LanguageModel.generate`` calls it."""

import numpy as np

import recurlm
from bench.configs import Config, Float, Ids
from bench.programs.recurlm_packed import packed_model
from recurlm import _core

GREEDY = _core.Sampling(temperature=0.0)


class RecurlmGenerator:
    def __init__(self, config: Config, weights: list[Float], dtype: str) -> None:
        self.model = packed_model(config, weights, dtype)
        self.read_bytes = int(self.model.read_bytes)

    def begin(self, prompt: Ids) -> None:
        self.state = self.model.begin([prompt], 0)

    def generate(self, count: int) -> Ids:
        ids: Ids = self.model.generate(self.state, count, GREEDY, log_probs=False)[0][0]
        return ids

    def log_probability(self, prompt: Ids) -> float:
        log_probs = self.model.generate(self.model.begin([prompt], 0), 1, GREEDY)[1]
        return float(np.asarray(log_probs)[0, 0])


def build(config: Config, weights: list[Float], threads: int, dtype: str) -> RecurlmGenerator:
    recurlm.set_num_threads(threads)
    return RecurlmGenerator(config, weights, dtype)

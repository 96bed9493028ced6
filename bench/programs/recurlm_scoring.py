"""recurlm's core as ``LanguageModel.score`` calls it."""

from collections.abc import Sequence

import numpy as np

import recurlm
from bench.configs import FIRST_ID, Config, Float, Ids
from bench.programs import Scorer
from bench.programs.recurlm_packed import packed_model


def build(config: Config, weights: list[Float], texts: Sequence[Ids], threads: int, dtype: str) -> Scorer:
    recurlm.set_num_threads(threads)
    model = packed_model(config, weights, dtype)
    ids = np.concatenate(texts)
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)

    def score() -> Float:
        log_probs: Float = model.score(ids, offsets, FIRST_ID)[0]
        return log_probs

    return score

"""A language model for ``pickle`` and ``copy.deepcopy``: what its saved folder holds, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pickling import Reduced, from_bytes, to_bytes
from ..text import tokenizers
from .architecture import Architecture
from .generation_config import GenerationConfig
from .history import TrainingHistory
from .weights import RunningWeights

if TYPE_CHECKING:
    from .language_model import LanguageModel


def reduce_language_model(lm: LanguageModel) -> Reduced:
    """What ``LanguageModel.__reduce__`` returns; RuntimeError while another thread trains.

    How it was trained is left out: ``fit`` begins with an optimizer of its own.
    """
    from .language_model import LanguageModel

    if type(lm) is not LanguageModel:
        raise TypeError(f"{type(lm).__name__} must define __reduce__ to be pickled or copied")
    trained = lm.tokenizer.trained
    values: dict[str, Any] = {
        "architecture": lm.architecture.config(),
        "tokenizer": lm.tokenizer.to_json() if trained else lm.tokenizer,  # without a vocabulary: its options only
        "separate_texts": lm.separate_texts,
        "precision": lm.precision,
        "generation": lm.generation_config.config(),
        "history": None if lm.history is None else lm.history.config(),
    }
    if lm.weights.made:
        with lm.weights.reading():
            values["weights"] = to_bytes(lm.weights.running().arrays())
    return restore_language_model, (values,)


def restore_language_model(values: dict[str, Any]) -> LanguageModel:
    """The inverse of ``reduce_language_model``."""
    from .language_model import LanguageModel

    saved = values["tokenizer"]
    tokenizer = tokenizers.from_json(saved) if isinstance(saved, str) else saved
    lm = LanguageModel.assemble(Architecture.from_config(values["architecture"]), tokenizer, values["separate_texts"])
    lm.generation_config = GenerationConfig.from_config(values.get("generation", {}))
    if values.get("history") is not None:
        lm.history = TrainingHistory.from_config(values["history"])
    if "weights" not in values:
        return lm
    arrays = from_bytes(values["weights"])
    if values["precision"] == "float32":
        named = lm.weights.make_network(initial=False).named_weights()
        for name, array in arrays.items():
            named[name].assign(array)
    else:
        lm.weights.run_only(RunningWeights.from_arrays(arrays.items(), values["precision"]))
    return lm

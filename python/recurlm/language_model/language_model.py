"""``LanguageModel``: train on a text, measure, score and generate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..callbacks import Callback
from ..checks import check_factor, check_integer, is_integer
from ..model import Model
from ..pickling import Reduced
from ..precision import Precision, check_training_precision
from ..text import tokenizers
from ..text.corpus import Data, PathLike, Texts, build_corpus
from ..text.tokenizer import Tokenizer, encode_named
from . import storage
from .architecture import Architecture
from .evaluation import Evaluation, count_unknown, evaluate_adapting, evaluate_streams, evaluate_texts
from .fitting import Checkpoints, Run
from .generation_config import GenerationConfig
from .history import TrainingHistory
from .options import FitOptions, shows_options
from .pickling import reduce_language_model
from .progress import Progress
from .running import RunningModel
from .scoring import compile_model
from .sources import corpus_folder, read_sources
from .weights import ModelWeights


class LanguageModel(RunningModel):
    """A recurrent network that predicts the next token of a text.

    Args:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        units: width of each recurrent layer.
        layers: recurrent layers, one on the other.
        embedding_dim: width of a token's vector; None: at most 64 for characters and bytes, for all else, and where
            weights are tied, ``units``.
        tokenizer: ``"char"``, ``"byte"``, ``"word"``, ``"bpe"``, or a ``Tokenizer`` of ``recurlm.text.tokenizers``; it
            learns its vocabulary in ``fit`` unless it has one. A name that ends with .json is the ``tokenizer.json`` of
            any that the ``tokenizers`` library reads.
        dropout: share of values dropped after the embedding and after each recurrent layer while training.
        tie_weights: use the embedding as the projection too.
        input_dropout, output_dropout: ``dropout`` after the embedding, and before the projection, where these differ.
        embedding_dropout: share of the tokens whose vectors are zero for a batch (Gal and Ghahramani, 2016).
        recurrent_dropout: share of a layer's state that is dropped where it enters the recurrent product, one draw for
            all steps of a window.
        weight_drop: share of the recurrent weights dropped, one draw a batch (Merity et al., 2018).
        variational: every dropout draws one mask for all steps of a window.
        activation_penalty, temporal_penalty: AR and TAR, ``alpha`` and ``beta`` of Merity et al. (2017), on the outputs
            of the last layer.
        seed: initial weights, dropout and noise are functions of it.

    Attributes:
        tokenizer: the ``Tokenizer``.
        architecture: the arguments above.
        model: the ``Model``.
        weights: its ``ModelWeights``.
        separate_texts: whether it was trained on a list of texts, and so has learned where a text ends.
        generation_config: a ``GenerationConfig``, what ``generate`` does where it is not told; saved with the model.
        history: the ``TrainingHistory`` of the last ``fit``, saved and loaded with the model; None where there is none.

    >>> from recurlm import LanguageModel
    >>> lm = LanguageModel(units=8)
    >>> history = lm.fit(["to be or not to be"] * 20, epochs=1, batch_size=2, window=8, verbose=False)
    >>> len(lm.generate("to ", max_tokens=5, seed=1)) <= 5
    True
    """

    def __init__(
        self,
        cell: str = "lstm",
        units: int = 512,
        layers: int = 1,
        embedding_dim: int | None = None,
        tokenizer: str | Tokenizer = "char",
        dropout: float = 0.0,
        tie_weights: bool = False,
        seed: int = 0,
        *,
        input_dropout: float | None = None,
        output_dropout: float | None = None,
        embedding_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        variational: bool = False,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
    ):
        self.tokenizer = tokenizers.get(tokenizer)
        if embedding_dim is None:
            wide = tie_weights or self.tokenizer.kind not in ("char", "byte") or not is_integer(units)
            embedding_dim = units if wide else min(units, 64)  # units that are no integer are refused below
        self.architecture = Architecture(
            cell, units, layers, embedding_dim, dropout, tie_weights, seed, input_dropout, output_dropout,
            embedding_dropout, recurrent_dropout, weight_drop, variational, activation_penalty, temporal_penalty,
        )  # fmt: skip
        self.separate_texts = False
        self.generation_config = GenerationConfig()
        self.history: TrainingHistory | None = None
        self.weights = ModelWeights(self.architecture, self.tokenizer)

    @classmethod
    def assemble(cls, architecture: Architecture, tokenizer: Tokenizer, separate_texts: bool) -> LanguageModel:
        """A model without weights; see ``ModelWeights`` for how it gets them."""
        lm = cls(tokenizer=tokenizer, **architecture.config())
        lm.separate_texts = separate_texts
        return lm

    @property
    def precision(self) -> Precision:
        """``"float32"``, or what the weights were quantized to."""
        return self.weights.precision

    @property
    def model(self) -> Model:
        """The network; there is one as soon as the tokenizer has a vocabulary, but for a quantized model."""
        return self.weights.network

    def count_params(self) -> int:
        """Number of weights; ValueError where the tokenizer has no vocabulary yet."""
        return self.weights.count()

    def __repr__(self) -> str:
        a, tokenizer = self.architecture, self.tokenizer
        size = f"{tokenizer.vocabulary_size} tokens" if tokenizer.trained else "no vocabulary yet"
        return f"<LanguageModel {a.cell}, units={a.units}, layers={a.layers}, tokenizer={tokenizer.kind} ({size})>"

    # Training ----------------------------------------------------------------------------------------------------

    @shows_options
    def fit(
        self,
        data: Data,
        validation_data: Data | None = None,
        *,
        validation_split: float = 0.1,
        corpus_dir: PathLike | None = None,
        checkpoint_dir: PathLike | None = None,
        checkpoint_every: int = 1000,
        resume: bool = False,
        sample_every: float | None = None,
        sample_prompt: str = "",
        callbacks: Sequence[Callback] = (),
        verbose: bool = True,
        **options: Any,
    ) -> dict[str, list[float]]:
        """Train by truncated back-propagation through time: streams, their states carried from window to window.

        Texts of a list follow one another in the streams, each closed by its end. A window that opens with a text
        starts from the zero state; within a window the state is carried over the end of a text, which so learns to
        forget. After each epoch the model is validated; at the end it has the weights of the best validation loss.
        Progress goes to stderr.

        Args:
            data: a file (``str`` or ``Path``), a list of ``Path`` read as one text, or a list of texts. Files are
                UTF-8; for bytes and BPE any will do.
            validation_data: the same, held out; None holds out the last ``validation_split`` of ``data`` (0: nothing).
            epochs: passes over the text; None: 10, or as many as ``max_minutes`` or ``max_tokens`` allow.
            batch_size: streams read side by side.
            window: steps that gradients flow back.
            learning_rate: the highest, after ``warmup_steps``, a tenth of the run at most; 4e-3, of sgd 4.0, ...
            schedule: ``"cosine"`` or ``"linear"`` decay to zero at the end of the run, or ``"constant"``.
            optimizer: ``"adamw"``, ``"adam"``, ``"lion"``, ``"rmsprop"``, ``"adagrad"``, ``"sgd"`` or ``"nt-asgd"``
                (Merity et al., 2018): from the first validation on that is worse than the best of those more than five
                before it, the mean of the weights is validated and saved.
            beta_2: decay of the second moment of Adam and AdamW, and of Lion's momentum; 0.99.
            weight_decay: decoupled, relative to the learning rate; 0.01, of sgd and nt-asgd 1.2e-6.
            clipnorm: largest global norm of the gradient; None or 0: any.
            early_stopping: end after so many epochs without a better validation loss.
            label_smoothing: share of a target's probability that all tokens get in equal parts.
            ema: keep an exponential moving average of the weights with this momentum; it is validated and saved.
            accumulate: steps whose mean gradient makes one update; warm-up and averages go on counting steps.
            dtype: ``"bfloat16"`` rounds the operands of training's products; see ``Model.compile``.
            unigram_noise: share of inputs replaced by tokens drawn as often as they occur (Xie et al., 2017).
            blank_noise: share of inputs replaced by ``<unk>``, which only words and BPE have.
            token_drop: share of tokens left out of the text, as inputs and as targets.
            random_windows: of random length, the learning rate in proportion to it (Merity et al., 2018).
            shift_windows: each epoch cuts the text elsewhere.
            sampled_softmax: train on so many tokens of the vocabulary, drawn for each step, and the targets: fast where
                it is large. An epoch's loss, perplexity and accuracy are over these, those of validation over all.
            corpus_dir: where to keep the text as ids for later runs; None: with the checkpoints, until the run ends.
            checkpoint_dir: where to keep checkpoints, one every ``checkpoint_every`` steps and after each epoch.
            resume: go on from the newest checkpoint there, to the same bits as without the interruption; the text and
                what is held out must be the same, limits may be raised.
            sample_every: seconds between generated samples, which continue ``sample_prompt``; None: no samples.

        Returns:
            For each epoch: loss and val_loss in nats for each token, (val_)perplexity, (val_)accuracy,
            tokens_per_second, learning_rate, and so far steps, tokens, seconds.

        Raises:
            FileNotFoundError: a file is missing, or there is no checkpoint to resume from.
            ValueError: a file is empty, not UTF-8 or too short, or an option is not possible.
            FloatingPointError: the loss or a gradient is no longer finite.
            KeyboardInterrupt: Ctrl-C, after the step was finished and a checkpoint saved.
            SystemExit: SIGTERM, likewise, with code 143; a program that handles SIGTERM itself goes on to do so.
            OSError: a checkpoint could not be written; the earlier ones are whole, and so is the model in memory.
        """
        self.weights.require_network()
        recipe = FitOptions.of(options)
        checkpoints, updates = Checkpoints.at(checkpoint_dir, checkpoint_every, resume), recipe.make_optimizer()
        progress = Progress(verbose, sample_every, lambda: self._sample(sample_prompt))
        with checkpoints.prepared(), closing(progress):
            folder = corpus_folder(corpus_dir, checkpoints.folder)
            sources = read_sources(self.tokenizer, data, validation_data, validation_split, folder)
            self.separate_texts = sources.separate
            encode_named(self.tokenizer, sample_prompt, "sample_prompt")  # before hours have been spent
            loss = recipe.make_loss(self.tokenizer.vocabulary_size, sources.train)
            compile_model(self.model, updates, check_training_precision(recipe.dtype), loss)
            return Run(self, recipe, sources, checkpoints, progress).fit(callbacks, resume)

    def _sample(self, prompt: str) -> str:
        return f"--- sample ---\n{prompt}{self.generate(prompt, max_tokens=200, temperature=0.8)}\n--------------"

    # Measuring ---------------------------------------------------------------------------------------------------

    def evaluate(self, data: Data, streams: int = 1, adapt: float | None = None) -> Evaluation:
        """How well the model predicts ``data``: a file, a list of ``Path`` read as one text, or a list of texts.

        One text is read as one stream, its state carried from the first token to the last; ``streams`` > 1 is faster
        and a little pessimistic, since each stream starts from nothing. Every text of a list starts from nothing; their
        ends, which ``fit`` counts as tokens in its losses, are not counted.

        With ``adapt``, a copy of the model learns from every 32 tokens of a stream once it has predicted them, by a
        step of SGD with that learning rate (dynamic evaluation; Krause et al., 2018): 0.3 to 1 is a start.

        Raises:
            FileNotFoundError, ValueError: a file is missing, empty or not UTF-8, or has a character that is unknown.
            FloatingPointError: the model that learns has diverged.
        """
        self.weights.require_vocabulary()
        adapt = None if adapt is None else check_factor("adapt", adapt)
        texts, tokenizer = Texts.of(data), self.tokenizer
        if texts.separate:
            if adapt is not None:
                raise ValueError("adapt goes on learning along one text: give files, not a list of texts")
            model = self.weights.packed()
            encoded = [encode_named(tokenizer, text, f"data[{i}]") for i, text in enumerate(texts.strings)]
            characters = sum(map(len, texts.strings))
            size = sum(len(text.encode(errors=tokenizer.errors)) for text in texts.strings)
            unknown = count_unknown(encoded, tokenizer)
            return evaluate_texts(model, encoded, tokenizer.bos_id).evaluation(characters, size, unknown)
        corpus = build_corpus(texts, tokenizer)
        streams = min(check_integer("streams", streams, 1), len(corpus.ids))
        if adapt is None:
            tally = evaluate_streams(self.weights.packed(), corpus.ids, tokenizer.bos_id, streams)
        else:
            tally = evaluate_adapting(self.weights.plain_copy(), corpus.ids, tokenizer.bos_id, streams, adapt)
        return tally.evaluation(corpus.characters, corpus.bytes, count_unknown([corpus.ids], tokenizer))

    def perplexity(self, data: Data) -> float:
        """``evaluate(data).perplexity``."""
        return self.evaluate(data).perplexity

    # Weights for running -----------------------------------------------------------------------------------------

    def quantize(self, precision: Precision = "int8") -> LanguageModel:
        """A copy that runs with weights in less memory, and faster where reading them takes the time; it cannot train.

        Args:
            precision: ``"int8"`` (a scale for each output channel; a quarter of the bytes) or ``"bfloat16"`` (half).

        Raises:
            ValueError: the precision is another, or this model has been quantized already.
            FloatingPointError: a weight is not finite.
        """
        lm = self.assemble(self.architecture, self.tokenizer, self.separate_texts)
        lm.weights.run_only(self.weights.converted(precision))
        lm.history, lm.generation_config = self.history, self.generation_config.override()
        return lm

    # Files -------------------------------------------------------------------------------------------------------

    def save(self, folder: PathLike, *, packed: bool = False) -> None:
        """Save the model in ``folder``, in place of a model that is there; the folder is whole at any moment.

        Args:
            packed: as the C library maps it, which opens at once and is shared by processes; Python does not load it.

        Raises:
            ValueError: ``folder`` is there and holds something else.
        """
        (storage.save_packed if packed else storage.save)(self, Path(folder))

    @classmethod
    def load(cls, folder: PathLike, *, check: bool = True) -> LanguageModel:
        """The model that ``save`` wrote.

        Args:
            check: compare its predictions for a few tokens with those written down when it was saved.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it is not a language model, or a file of it is damaged.
        """
        return storage.load(cls, Path(folder), check)

    def save_pretrained(self, save_directory: PathLike) -> None:
        """``save``, under the name that Hugging Face's libraries give it."""
        self.save(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: PathLike) -> LanguageModel:
        """``load``, under the name that Hugging Face's libraries give it; a folder, never a download."""
        return cls.load(pretrained_model_name_or_path)

    def __reduce__(self) -> Reduced:
        return reduce_language_model(self)

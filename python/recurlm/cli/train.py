"""``recurlm train``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .. import checkpoint
from ..language_model import GenerationConfig, LanguageModel, storage
from ..language_model.architecture import CELLS
from ..language_model.options import OPTIMIZERS
from ..language_model.progress import show_perplexity
from ..language_model.schedule import SCHEDULES
from ..precision import TRAINING_PRECISIONS
from ..text.tokenizer import Tokenizer
from ..text.tokenizers import KINDS, BPETokenizer, WordTokenizer
from .arguments import Verbs, add_options, chosen, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "train", "train a language model on text files", run)
    parser.add_argument(
        "text",
        nargs="+",
        type=Path,
        metavar="TEXT",
        help="UTF-8 files (for byte and bpe: any), read one after the other as one text",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to save the model")
    add_options(
        parser,
        LanguageModel.fit,
        {"resume": "go on from the newest checkpoint in DIR-checkpoints: repeat the command and add this"},
    )
    parser.epilog = (
        "Ctrl-C and SIGTERM save a checkpoint first; the exit code is then 130 or 143. After these, as after a crash "
        "or a full disk, the same command with --resume goes on from the newest checkpoint to the same weights."
    )
    _add_model(parser)
    _add_regularisation(parser)
    _add_data(parser)
    _add_recipe(parser)
    _add_augmentation(parser)
    _add_while_it_runs(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    add_options(
        parser.add_argument_group("model"),
        LanguageModel.__init__,
        {
            "cell": "recurrent cell",
            "units": "width of a layer",
            "layers": "number of layers",
            "embedding_dim": "width of a token's vector (default: at most 64 for char and byte, else units)",
            "dropout": "share of values dropped in training",
            "tie_weights": "use the embedding as the projection too",
            "seed": "decides initial weights, dropout and noise",
        },
        cell=tuple(CELLS),
        embedding_dim=int,
    )
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--tokenizer", type=_tokenizer_name, default="char", metavar="KIND",
        help=f"what a token is: {', '.join(KINDS)}, or a tokenizer.json of another's making (default: char)",
    )  # fmt: skip
    tokens.add_argument(
        "--vocabulary-size", dest="size", type=int, metavar="N", help="at most N words, or tokens of bpe (8192)"
    )
    tokens.add_argument(
        "--minimum-count", type=int, metavar="N", help="drop words rarer than N (default: 1), or pairs of bpe (2)"
    )
    tokens.add_argument(
        "--word-pattern", dest="pattern", metavar="REGEX", help="cut words further, for instance at punctuation"
    )


def _add_regularisation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("regularisation")
    add_options(
        group,
        LanguageModel.__init__,
        {
            "input_dropout": "dropout after the embedding (default: that of --dropout)",
            "output_dropout": "dropout before the projection (default: that of --dropout)",
            "embedding_dropout": "share of the tokens whose vectors are zero for a batch",
            "recurrent_dropout": "share of the state dropped on its way to the next step",
            "weight_drop": "share of the recurrent weights dropped for a batch",
            "variational": "one mask of dropout for all steps of a window",
            "activation_penalty": "alpha times the mean square of outputs (AR)",
            "temporal_penalty": "beta times the mean square of their changes (TAR)",
        },
        input_dropout=float,
        output_dropout=float,
    )
    add_options(
        group,
        LanguageModel.fit,
        {"label_smoothing": "share of a target's probability given to all tokens"},
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument("--validation", dest="validation_data", type=Path, metavar="TEXT", help="file to validate on")
    add_options(
        data,
        LanguageModel.fit,
        {
            "validation_split": "without --validation, share of the text's end to hold out",
            "batch_size": "streams read side by side",
            "window": "tokens that gradients flow back",
        },
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    add_options(
        parser.add_argument_group("recipe"),
        LanguageModel.fit,
        {
            "epochs": "passes over the text (default: 10, or as many as the limits allow)",
            "max_minutes": "stop after so long; the schedule follows the clock: on a busy machine take --max-tokens",
            "max_tokens": "stop after so many tokens",
            "early_stopping": "stop after so many epochs without a better validation loss",
            "optimizer": "how weights follow gradients",
            "learning_rate": "highest learning rate (default: 0.004; lion: 0.0004; adagrad: 0.05; sgd, nt-asgd: 4)",
            "schedule": "course of the learning rate after warm-up",
            "warmup_steps": "steps of linear increase, at most a tenth of the run",
            "beta_2": "decay of adam's second moment, of lion's momentum (default: 0.99)",
            "weight_decay": "decoupled, times the learning rate (default: 0.01; sgd, nt-asgd: 1.2e-6)",
            "clipnorm": "largest global norm of the gradient, 0 for any",
            "ema": "momentum of a moving average of the weights, which is validated and saved",
            "accumulate": "steps whose mean gradient makes one update",
            "dtype": "of the operands of products; weights and sums stay float32",
            "sampled_softmax": "train on N tokens drawn for each step and the targets, not the whole vocabulary",
        },
        epochs=int,
        max_minutes=float,
        max_tokens=int,
        early_stopping=int,
        sampled_softmax=int,
        ema=float,
        learning_rate=float,
        beta_2=float,
        weight_decay=float,
        optimizer=tuple(OPTIMIZERS),
        schedule=SCHEDULES,
        dtype=TRAINING_PRECISIONS,
    )


def _add_augmentation(parser: argparse.ArgumentParser) -> None:
    add_options(
        parser.add_argument_group("augmentation"),
        LanguageModel.fit,
        {
            "unigram_noise": "share of inputs replaced by tokens drawn as often as they occur",
            "blank_noise": "share of inputs replaced by <unk>, with --tokenizer word or bpe",
            "token_drop": "share of tokens left out of the text",
            "random_windows": "windows of random length, the learning rate in proportion",
            "shift_windows": "cut the text elsewhere in each epoch",
        },
    )


def _add_while_it_runs(parser: argparse.ArgumentParser) -> None:
    add_options(
        parser.add_argument_group("while it runs"),
        LanguageModel.fit,
        {
            "checkpoint_every": "steps between checkpoints; there is one after each epoch too",
            "sample_every": "show a sample of generated text every so many seconds",
            "sample_prompt": "what samples continue",
        },
        sample_every=float,
    )


def checkpoints_of(out: Path) -> Path:
    """The checkpoints are beside the model, which is replaced as a whole when it is saved."""
    return out.with_name(f"{out.name}-checkpoints")


def _tokenizer_name(name: str) -> str:
    if name not in KINDS and not name.endswith(".json"):
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(KINDS)}, or a file *.json, got {name!r}")
    return name


def _tokenizer(arguments: argparse.Namespace) -> str | Tokenizer:
    """The kind of tokenizer, or one with the options that were given for it."""
    kind: str = arguments.tokenizer
    sizes = {name: value for name in ("size", "minimum_count") if (value := getattr(arguments, name)) is not None}
    if arguments.pattern is not None and kind != "word":
        raise ValueError("--word-pattern needs --tokenizer word")
    if sizes and kind not in ("word", "bpe"):
        raise ValueError("--vocabulary-size and --minimum-count need --tokenizer word or bpe")
    if kind == "word":
        return WordTokenizer(**sizes, pattern=arguments.pattern)
    return BPETokenizer(**sizes) if kind == "bpe" else kind


def run(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    storage.check_target(arguments.out)
    out, folder = arguments.out, checkpoints_of(arguments.out)
    arguments.tokenizer = _tokenizer(arguments)
    lm = LanguageModel(**chosen(arguments, LanguageModel.__init__))
    try:
        history = lm.fit(arguments.text, checkpoint_dir=folder, **chosen(arguments, LanguageModel.fit))
    except (KeyboardInterrupt, SystemExit) as stopped:
        if not checkpoint.list_steps(folder):
            raise
        said = f"; saved in {checkpoint.newest(folder)}, repeat the command with --resume to go on"
        if isinstance(stopped, SystemExit):
            print(f"recurlm: terminated{said}", file=sys.stderr)
            raise
        raise KeyboardInterrupt(said) from None
    if arguments.resume and out.is_dir() and lm.generation_config == GenerationConfig():
        lm.generation_config = storage.read_generation(out)  # set since, on the model that this one replaces
    lm.save(out)
    result = {
        "model": str(out),
        "parameters": lm.count_params(),
        "seconds": round(time.perf_counter() - start, 2),
        "history": history,
    }
    if arguments.json:
        print_json(result)
        return
    if losses := history.get("val_loss"):
        best, count = min(losses), len(losses)
        of = f" (the best of {count} validations)" if count > 1 else ""
        print(f"validation loss {best:.4f}, perplexity {show_perplexity(best)}{of}")
    print(f"model saved in {out}")
    print(f"checkpoints, to go on with --resume or to delete, are in {folder}")

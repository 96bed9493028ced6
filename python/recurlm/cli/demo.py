"""``recurlm demo``: a language model of the text that every Python brings along."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..language_model import LanguageModel
from ..language_model.storage import check_target
from ..text import demo_corpus
from ..text.corpus import read_text
from ..text.tokenizers import CharTokenizer
from .arguments import Verbs, new_parser, print_json

_HELD_OUT = 0.05
_STREAMS = 32
_LEAST = 2_500  # characters: a window of every stream, and some to hold out


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(
        verbs, "demo", "train on Python's own documentation for a minute or two and write some more of it", run
    )
    parser.add_argument("text", nargs="?", type=Path, metavar="TEXT", help="a UTF-8 file to train on instead")
    parser.add_argument("--seconds", type=float, default=90, help="how long to train (default: 90)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("recurlm-demo"),
        metavar="DIR",
        help="where to save the model (default: recurlm-demo)",
    )
    parser.add_argument(
        "--sample-every", type=float, default=20, metavar="SECONDS", help="time between samples (default: 20)"
    )


def run(arguments: argparse.Namespace) -> None:
    check_target(arguments.out)
    if not arguments.seconds > 0:
        raise ValueError(f"seconds must be positive, got {arguments.seconds}")
    text = demo_corpus.build() if arguments.text is None else "".join(read_text(arguments.text))
    if len(text) < _LEAST:
        raise ValueError(f"{arguments.text} is too short: {len(text):,} characters, expected at least {_LEAST:,}")
    cut = round(len(text) * (1 - _HELD_OUT))
    tokenizer = CharTokenizer()
    tokenizer.train([text])
    lm = LanguageModel(tokenizer=tokenizer)
    _tell(f"{len(text):,} characters, {tokenizer.vocabulary_size} tokens, {lm.count_params():,} parameters")
    folder = Path(tempfile.mkdtemp(prefix="recurlm-demo-"))
    try:
        held_out, train = folder / "held_out.txt", folder / "train.txt"
        train.write_text(text[:cut], encoding="utf-8", newline="")
        held_out.write_text(text[cut:], encoding="utf-8", newline="")
        result = _train(lm, train, held_out, arguments)
    finally:
        shutil.rmtree(folder)
    lm.save(arguments.out)
    result |= {"model": str(arguments.out), "sample": lm.generate(max_tokens=400, temperature=0.7)}
    if arguments.json:
        print_json(result)
        return
    print(f"\n{result['sample']}\n")
    print(f"validation loss before {result['loss_before']:.4f}, after {result['loss_after']:.4f} nats per character")
    print(f"{result['tokens_per_second']:,.0f} characters a second")
    print(f"model saved in {arguments.out}; try: {_advice(arguments.out, text)}")


def _advice(out: Path, text: str) -> str:
    """A command that works as it is typed, also outside the environment, with characters that the model knows."""
    command = ["recurlm"] if shutil.which("recurlm") else [sys.executable, "-m", "recurlm"]
    prompt = next(iter(text.split()), "")[:20]
    return shlex.join([*command, "generate", str(out), f"--prompt={prompt}"])


def _train(lm: LanguageModel, train: Path, held_out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    before = lm.evaluate(held_out, _STREAMS).loss
    _tell(f"validation loss before training {before:.4f} nats per character")
    start = time.perf_counter()
    history = lm.fit(train, held_out, max_minutes=arguments.seconds / 60, sample_every=arguments.sample_every)
    return {
        "loss_before": before,
        "loss_after": lm.evaluate(held_out, _STREAMS).loss,
        "tokens_per_second": history["tokens_per_second"][-1],
        "seconds": time.perf_counter() - start,
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

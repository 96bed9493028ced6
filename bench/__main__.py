"""``python -m bench``: recurlm beside its peers and the machine's limits, in one run. See README.md in this folder."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from bench import report
from bench.configs import Config
from bench.probes import limits
from bench.programs import installed
from bench.report import Column, Result

VERBS = ("train", "generate", "score", "processes", "shapes")
ROUNDS, QUICK_ROUNDS = 5, 3


class Verb(Protocol):
    """A module ``bench.<verb>``."""

    CASES: Mapping[str, Config]
    QUICK_CASES: Sequence[str]
    PEERS: Sequence[str]
    SECONDS: float
    QUICK_SECONDS: float
    COLUMNS: Sequence[Column]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Those that only this verb has."""

    def results(self, options: argparse.Namespace) -> Iterator[Result]:
        """One for each case and number of threads, as they come. Raises RuntimeError, see ``measure``."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    verb = load(options.verb)
    facts = report.machine()
    document: dict[str, Any] = {"verb": options.verb, "machine": facts, "seconds": options.seconds, "results": []}
    if options.json:
        document["limits"] = {threads: limits(threads) for threads in options.threads}
    print(f"{report.describe(facts)}\n{verb.__doc__}\n{report.heading(verb.COLUMNS)}", flush=True)
    try:
        for result in verb.results(options):
            print(report.lines(result, verb.COLUMNS), flush=True)
            document["results"].append(result)
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if options.json:
            options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Without a verb, ``train``."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    parsers = {name: verb_parser(verbs, name) for name in VERBS}
    named = arguments and arguments[0] in (*VERBS, "-h", "--help")
    options = parser.parse_args(arguments if named else [VERBS[0], *arguments])
    verb = load(options.verb)
    options.config = options.config or list(verb.QUICK_CASES if options.quick else verb.CASES)
    options.seconds = options.seconds or (verb.QUICK_SECONDS if options.quick else verb.SECONDS)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    if options.versus is None:
        options.versus = [name for name in verb.PEERS if installed(name)]
    for name in options.versus:
        if not installed(name):
            parsers[options.verb].error(f"argument --versus: {name} is not installed in this environment")
    return options


def verb_parser(verbs: Any, name: str) -> argparse.ArgumentParser:
    verb = load(name)
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=cast(str, verb.__doc__).splitlines()[0], description=verb.__doc__
    )
    cores = len(os.sched_getaffinity(0))
    threads = sorted({1, cores}) if name == "generate" else [cores]
    parser.add_argument("--config", nargs="+", choices=verb.CASES, metavar="NAME", help=f"of {', '.join(verb.CASES)}")
    parser.add_argument("--versus", nargs="*", choices=verb.PEERS, help="opponents (default: those that are installed)")
    parser.add_argument("--threads", nargs="+", type=positive, default=threads, help=f"default: {threads}")
    parser.add_argument("--seconds", type=float, help=f"of a program's turn in a round (default {verb.SECONDS:g})")
    parser.add_argument("--rounds", type=positive, help=f"in which the programs take turns (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help=f"short rounds of {', '.join(verb.QUICK_CASES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    verb.add_arguments(parser)
    return parser


def load(verb: str) -> Verb:
    return cast(Verb, import_module(f"bench.{verb}"))


def positive(text: str) -> int:
    """argparse turns ValueError into its own sentence."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())

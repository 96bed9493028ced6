"""``python -m bench.serving``: tokens a second of ``recurlm serve``, one stream alone and many at once, in turns.

A model of random weights is served by a process of its own; requests are answered whole, by connections that stay open.
Clients and server share the machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench import report
from recurlm import LanguageModel
from recurlm.precision import PRECISIONS

CONFIGS = {"char-512x2": {"units": 512, "layers": 2}, "char-128": {"units": 128, "layers": 1}}
CHARACTERS = "".join(map(chr, range(32, 97)))  # as many as tiny-shakespeare has


@dataclass
class Load:
    """Requests of so many clients for so many seconds.

    Attributes:
        tokens: drawn.
        seconds_per_token: of each request, from its start to its end.
    """

    tokens: int = 0
    seconds_per_token: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def save_model(config: str, precision: str, folder: Path) -> None:
    lm = LanguageModel(**CONFIGS[config])  # type: ignore[arg-type]
    lm.tokenizer.train([CHARACTERS])
    (lm if precision == "float32" else lm.quantize(precision)).save(folder)  # type: ignore[arg-type]


@contextmanager
def server(folder: Path, streams: int) -> Iterator[str]:
    """Host and port of a server of the model in ``folder``."""
    command = [
        sys.executable,
        "-m",
        "recurlm",
        "serve",
        str(folder),
        "--port",
        "0",
        "--json",
        "--streams",
        str(streams),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield urlsplit(json.loads(process.stdout.readline())["url"]).netloc
        finally:
            process.terminate()


def run(netloc: str, clients: int, seconds: float, tokens: int) -> Load:
    """Every client asks for so many tokens, and again as soon as it has them."""
    load, lock, start = Load(), threading.Lock(), time.perf_counter()

    def work(seed: int) -> None:
        connection = http.client.HTTPConnection(netloc)
        while (begun := time.perf_counter()) < start + seconds:
            seed += clients
            body = json.dumps({"prompt": "ROMEO: ", "max_tokens": tokens, "seed": seed})
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = json.load(connection.getresponse())
            if "usage" not in answer:
                raise RuntimeError(answer)
            drawn = answer["usage"]["completion_tokens"]
            with lock:
                load.tokens += drawn
                load.seconds_per_token.append((time.perf_counter() - begun) / drawn)
        connection.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - start
    return load


def turns(folder: Path, options: argparse.Namespace) -> list[Load]:
    """One client, and many, of a server that is new: where its memory lies makes a tenth of its speed."""
    with server(folder, options.clients) as netloc:
        run(netloc, 1, 1.0, options.tokens)
        return [run(netloc, clients, options.seconds, options.tokens) for clients in (1, options.clients)]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--config", choices=CONFIGS, default="char-512x2")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=1024, help="of a request")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(report.describe(report.machine()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        save_model(options.config, options.precision, Path(folder) / "model")
        loads = [turns(Path(folder) / "model", options) for _ in range(options.rounds)]
    alone, together = zip(*loads, strict=True)
    for clients, each in ((1, alone), (options.clients, together)):
        waits = [seconds for load in each for seconds in load.seconds_per_token]
        rate, median = statistics.median(load.rate for load in each), 1e3 * statistics.median(waits)
        last = 1e3 * percentile(waits, 0.99)
        print(
            f"{clients:4d} streams: {rate:9,.0f} tokens/s; a token of one {median:.3f} ms (median), {last:.3f} ms (p99)"
        )
    ratios = sorted(b.rate / a.rate for a, b in loads)
    print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

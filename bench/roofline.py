"""``python -m bench.roofline FILE... --out roofline.png``: how far below the machine's limits everything runs.

From the JSON of ``train``, ``shapes``, ``score`` and ``generate``: GFLOP/s over operations per byte that has to move.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.configs import Config
from bench.programs import Contender
from bench.report import Entry

Document = Mapping[str, Any]

MARKERS = {"train": "o", "shapes": "D", "score": "s", "generate": "^"}
COLOURS = {
    "recurlm": "tab:blue",
    "torch": "tab:red",
    "onnxruntime": "tab:orange",
    "numpy": "tab:gray",
    "jax": "tab:purple",
}
OTHER_COLOUR = "tab:green"
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Point:
    case: str
    verb: str
    program: str
    intensity: float  # FLOP/byte
    gflops: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.roofline", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("roofline.png"))
    parser.add_argument("--threads", type=int, help="default: the highest number of all files")
    options = parser.parse_args(arguments)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in options.files]
    threads = options.threads or max(int(threads) for document in documents for threads in document["limits"])
    found = [point for document in documents for point in points(document, threads)]
    machine = documents[0]["machine"]
    title = f"{machine['processor']}, {machine['isa']}, {threads} threads"
    plot(found, roofs(documents, threads), title, options.out)


def points(document: Document, threads: int) -> Iterator[Point]:
    """Every program that was timed with so many threads."""
    verb = document["verb"]
    for result in document["results"] if verb in MARKERS else ():
        config = Config(**result["config"])
        for name, program in result["programs"].items():
            if result["threads"] == threads and "tokens_per_second" in program:
                flops, moved = work(verb, config, program, WEIGHT_BYTES[Contender.named(name).dtype])
                gflops = program["tokens_per_second"] * flops / config.tokens / 1e9
                yield Point(result["case"], verb, name, flops / moved, gflops)


def work(verb: str, config: Config, program: Entry, weight_bytes: int) -> tuple[float, float]:
    """Operations and bytes of a step, or of as many tokens."""
    if verb == "generate":  # each weight that is read is multiplied and added once
        moved = program["read_bytes"] * config.tokens
        return 2 * moved / weight_bytes, moved
    if verb == "score":
        return config.forward_flops, scoring_bytes(config)
    return program["executed_flops"], training_bytes(config)


def scoring_bytes(config: Config) -> int:
    """Weights are read once; what a layer gives to the next is written and read."""
    return 4 * (config.multiplied_weights + 2 * config.units * config.layers * config.tokens)


def training_bytes(config: Config) -> int:
    """What a step moves at least if nothing outlives its pass in a cache.

    Weights are read for the products; gradients written and read; weights and Adam's moments read and written, those
    of the embedding too; gates, cell and hidden states written for the backward pass and read there.
    """
    saved = (config.gates + 2) * config.units * config.layers * config.tokens
    return 4 * (9 * config.multiplied_weights + 6 * config.vocabulary * config.embedding + 2 * saved)


def roofs(documents: Sequence[Document], threads: int) -> dict[str, Any]:
    """The highest of all files, as the clock of a busy machine drifts: peak_gflops, and read_bandwidth by megabytes."""
    limits = [document["limits"][str(threads)] for document in documents if str(threads) in document["limits"]]
    sizes = limits[0]["read_bandwidth"]
    return {
        "peak_gflops": max(limit["peak_gflops"] for limit in limits),
        "read_bandwidth": {size: max(limit["read_bandwidth"][size] for limit in limits) for size in sizes},
    }


def plot(found: Sequence[Point], limits: Mapping[str, Any], title: str, out: Path) -> None:
    from matplotlib.figure import Figure  # an optional package that nothing else here needs

    figure = Figure(figsize=(11, 7), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="FLOP per byte moved", ylabel="GFLOP/s", xscale="log", yscale="log")
    axes.grid(which="both", alpha=0.15)
    draw_roofs(axes, limits, lowest=min(p.intensity for p in found) / 2, highest=max(p.intensity for p in found) * 3)
    for point in sorted(found, key=lambda point: point.program.startswith("recurlm")):  # recurlm's on top
        draw_point(axes, point)
    axes.set_ylim(top=3 * limits["peak_gflops"])  # room for labels
    draw_legend(axes, found)
    figure.savefig(out)


def draw_roofs(axes: Any, limits: Mapping[str, Any], lowest: float, highest: float) -> None:
    peak = limits["peak_gflops"]
    axes.plot([lowest, highest], [peak, peak], color="black")
    axes.annotate(f"fp32 peak {peak:.0f} GFLOP/s", (lowest, peak), ha="left", va="bottom")
    for n, (megabytes, bandwidth) in enumerate(limits["read_bandwidth"].items()):
        ridge = peak / bandwidth
        axes.plot([lowest, ridge], [lowest * bandwidth, peak], color="black", linewidth=0.8, linestyle="--")
        start = lowest * (ridge / lowest) ** (0.36 * n)  # not side by side, as two roofs can be close
        axes.text(
            start,
            1.12 * start * bandwidth,
            f"{megabytes} MB: {bandwidth:.0f} GB/s",
            rotation=math.degrees(math.atan(bandwidth)),  # the line's slope in data coordinates
            rotation_mode="anchor",
            transform_rotates_text=True,
            fontsize=8,
        )


def draw_point(axes: Any, point: Point) -> None:
    colour = colour_of(point.program)
    ours = point.program.startswith("recurlm")
    face = colour if ours else "none"
    axes.plot(point.intensity, point.gflops, MARKERS[point.verb], color=colour, markerfacecolor=face, markersize=6)
    if ours and point.verb != "shapes":  # whose names are long and many
        label = point.case + point.program.removeprefix("recurlm").replace("-", " ")
        place = (point.intensity, point.gflops)
        beside: dict[str, Any] = {"xytext": (6, -3)}
        if point.verb != "generate":  # many close together, below the peak
            beside = {"xytext": (0, 6), "rotation": 60}
        axes.annotate(label, place, textcoords="offset points", fontsize=7, **beside)


def colour_of(program: str) -> str:
    return COLOURS.get(program.partition("-")[0], OTHER_COLOUR)


def draw_legend(axes: Any, found: Sequence[Point]) -> None:
    for verb in dict.fromkeys(point.verb for point in found):
        axes.plot([], [], MARKERS[verb], color="black", markerfacecolor="none", label=verb)
    for program in dict.fromkeys(point.program.partition("-")[0] for point in found):
        axes.plot([], [], color=colour_of(program), linewidth=4, label=program)
    axes.legend(loc="lower right", fontsize=9)


if __name__ == "__main__":
    main()

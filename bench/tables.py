"""``python -m bench.tables FILE...``: Markdown tables from what ``python -m bench ... --json FILE`` wrote."""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.report import Entry, Result, describe, microseconds

Row = dict[str, str]
"""Cells by the titles of their columns."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--brief", action="store_true", help="without the rounds, and of the peers the ratios only")
    options = parser.parse_args(arguments)
    for path in options.files:
        print(section(json.loads(path.read_text(encoding="utf-8")), options.brief), end="\n\n")


def section(document: dict[str, Any], brief: bool = False) -> str:
    """A document's machine and table."""
    verb, results = document["verb"], document["results"]
    rows = [ROWS[verb](result) for result in results]
    if ROWS[verb] is training_row and len(rows) > 1:
        rows.append({"training step": "geometric mean"} | geometric_means(results))
    if brief:
        return f"{describe(document['machine'])}; medians\n\n{markdown([shortened(row) for row in rows])}"
    return f"{describe(document['machine'])}; medians (lowest–highest round)\n\n{markdown(rows)}"


def shortened(row: Row) -> Row:
    """Without rounds, and without what a peer itself did, ``<program>, <unit>``."""
    kept = (title for title in row if "," not in title or title.startswith("recurlm"))
    return {title: row[title].partition(" (")[0] for title in kept}


def markdown(rows: Sequence[Row]) -> str:
    """A column for each title that some row has; the first is text, the others are numbers."""
    titles = list(dict.fromkeys(title for row in rows for title in row))
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    lines += [[row.get(title, "") for title in titles] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_row(result: Result) -> Row:
    name, ours = of_recurlm(result)
    row = {"training step": f"`{result['case']}`", "threads": str(result["threads"])}
    if "tokens_per_second" in ours:
        row[f"{name}, tokens/s"] = ranged(ours["tokens_per_second"], ours["tokens_per_second_rounds"], ",.0f")
        row["of peak"] = f"{ours['executed_gflops'] / result['peak_gflops']:.0%}"
    row |= ratios(result)
    for name, program in result["programs"].items():
        if program["peak_memory_mb"]:
            row[f"{name}, MB"] = f"{program['peak_memory_mb']:,.0f}"
    return row


def generation_row(result: Result) -> Row:
    row = {"model": f"`{result['case']}`", "threads": str(result["threads"])}
    for name, program in result["programs"].items():
        row[f"{name}, µs"] = ranged(program["microseconds"], microseconds(program), ",.1f")
        if name.startswith("recurlm"):
            row[f"{name}, × limit"] = f"{program['times_limit']:.2f}"
    return row | ratios(result)


def scoring_row(result: Result) -> Row:
    row = {"texts": f"`{result['case']}`", "threads": str(result["threads"])}
    for name, program in result["programs"].items():
        row[f"{name}, tokens/s"] = ranged(program["tokens_per_second"], program["tokens_per_second_rounds"], ",.0f")
    return row | ratios(result)


def processes_row(result: Result) -> Row:
    row = {"two processes": f"`{result['case']}`", "threads each": str(result["threads"])}
    for name, program in result["programs"].items():
        both = program["together"]
        row[f"{name} alone, tokens/s"] = ranged(
            program["tokens_per_second"], program["tokens_per_second_rounds"], ",.0f"
        )
        row[f"{name} together"] = ranged(both["tokens_per_second"], both["tokens_per_second_rounds"], ",.0f")
        row[f"{name}, of alone"] = f"{program['of_alone']:.1%}"
    return row


ROWS: dict[str, Callable[[Result], Row]] = {
    "train": training_row,
    "shapes": training_row,
    "generate": generation_row,
    "score": scoring_row,
    "processes": processes_row,
}


def of_recurlm(result: Result) -> tuple[str, Entry]:
    """The program that the others are compared with, which is compared with none."""
    programs: dict[str, Entry] = result["programs"]
    return next(item for item in programs.items() if "recurlm_speed_up" not in item[1])


def ratios(result: Result) -> Row:
    return {
        f"× {name}": ranged(program["recurlm_speed_up"], program["recurlm_speed_up_rounds"], ".2f")
        for name, program in result["programs"].items()
        if "recurlm_speed_up" in program
    }


def ranged(median: float, rounds: Sequence[float], form: str) -> str:
    return f"{median:{form}} ({min(rounds):{form}}–{max(rounds):{form}})"


def geometric_means(results: Sequence[Result]) -> Row:
    """Of the ratios to each peer."""
    found: dict[str, list[float]] = {}
    for result in results:
        for name, program in result["programs"].items():
            if "recurlm_speed_up" in program:
                found.setdefault(f"× {name}", []).append(program["recurlm_speed_up"])
    return {title: f"{statistics.geometric_mean(values):.2f}" for title, values in found.items()}


if __name__ == "__main__":
    main()

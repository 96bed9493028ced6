"""``python -m bench.import_time``: what ``import recurlm`` costs beyond ``import numpy``."""

import statistics
import subprocess
import sys

RUNS = 15
# Names are loaded when they are first used, so the import alone is not all that a program pays.
PARTS = ("import numpy", "import recurlm", "recurlm.Model, recurlm.layers", "recurlm.LanguageModel")
CODE = "\n".join(
    ["from time import perf_counter", "times = [perf_counter()]"]
    + [f"{part}\ntimes.append(perf_counter())" for part in PARTS]
    + ["print(*(after - before for before, after in zip(times, times[1:])))"]
)


def import_times() -> list[list[float]]:
    """Milliseconds of each part, one list a run, in fresh interpreters with warm files."""
    runs = [
        [1000 * float(time) for time in subprocess.check_output([sys.executable, "-c", CODE], text=True).split()]
        for _ in range(RUNS + 1)
    ]
    return runs[1:]  # the first one warms the files


def main() -> None:
    for part, times in zip(PARTS, zip(*import_times(), strict=True), strict=True):
        print(f"{part:<30} {statistics.median(times):5.1f} ms ({min(times):.1f}–{max(times):.1f}, {RUNS} runs)")


if __name__ == "__main__":
    main()

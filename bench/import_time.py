"""``python -m bench.import_time``: what ``import recurlm`` costs beyond ``import numpy``."""

import statistics
import subprocess
import sys

RUNS = 15
CODE = """
from time import perf_counter
start = perf_counter()
import numpy
middle = perf_counter()
import recurlm
print(middle - start, perf_counter() - middle)
"""


def import_times() -> tuple[list[float], list[float]]:
    """Milliseconds of ``import numpy``, and of ``import recurlm`` after it, in fresh interpreters with warm files."""
    runs = [
        [1000 * float(time) for time in subprocess.check_output([sys.executable, "-c", CODE], text=True).split()]
        for _ in range(RUNS + 1)
    ][1:]  # the first one warms the files
    return [numpy for numpy, _ in runs], [recurlm for _, recurlm in runs]


def main() -> None:
    for name, times in zip(("numpy", "recurlm beyond numpy"), import_times(), strict=True):
        print(f"import {name}: {statistics.median(times):.1f} ms ({min(times):.1f}–{max(times):.1f}, {RUNS} runs)")


if __name__ == "__main__":
    main()

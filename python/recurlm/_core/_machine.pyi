"""The machine: instruction sets, threads, scratch memory."""

from typing import final

def supported_isas() -> list[str]: ...
def get_isa() -> str: ...
def set_isa(name: str) -> None: ...
def has_openmp() -> bool: ...
def multiplies_bfloat16() -> bool:
    """Whether the instruction set in use has products of bfloat16; the others form them by way of float32."""

def available_cores() -> int: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def measure_peak(seconds: float, threads: int) -> float:
    """fp32 GFLOP/s of fused multiply-adds in registers with the instruction set in use: the best short slice."""

def measure_bandwidth(megabytes: float, seconds: float, threads: int) -> float:
    """GB/s at which threads read their parts of so many megabytes over and over: the best short slice."""

@final
class Workspace:
    """Scratch memory that grows to what its largest user needs and is then reused; one call at a time."""

    def __init__(self) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def growths(self) -> int:
        """How often memory was requested from the system; constant once every shape has been seen."""

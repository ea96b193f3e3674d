"""Memory of a training: its peak (of the CUDA device where there is one, else of this process), and what to do without any."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def reset_peak_memory() -> None:
    """Start a new peak on the device; a process's peak cannot be reset."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb() -> float:
    """MiB at the highest since the last reset (CUDA), or since the process began."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else process_peak_mb()


def process_peak_mb() -> float:
    """MiB of this process at its highest; `ru_maxrss` counts on Linux what started it too, a server or a test run."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024  # KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next step, until `give_back_memory`: for the whole process, from the first call on.

    By default it gives the top of its heap back to the system after each backward pass and is handed the pages anew, zeroed, in
    the next forward pass: a tenth of a step on a CPU. Blocks over 32 MiB are mapped and unmapped as before.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory is short: on the device, or (a plain RuntimeError) in torch's CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def give_back_memory() -> None:
    """Give back to the system what a training has left and nobody uses; cycles stay for Python's own collector, at its time."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def free_memory() -> None:
    """Give back what a failed step has left, on the device too."""
    gc.collect()
    give_back_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

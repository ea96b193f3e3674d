"""Memory of a training: its peak (of the CUDA device where there is one, else of this process), and what to do without any."""

import gc
import resource
import sys

import torch


def reset_peak_memory() -> None:
    """Start a new peak on the device; a process's peak cannot be reset."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb() -> float:
    """MiB at the highest since the last reset (CUDA), or since the process began."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory is short: on the device, or (a plain RuntimeError) in torch's CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Give back what a failed step has left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Peak memory of a training: of the CUDA device where there is one, else of this process."""

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

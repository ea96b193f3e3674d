"""What this machine has and how busy it is: memory, and GPUs as nvidia-smi tells of them. Loads nothing heavy."""

import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_QUERY = ("name", "utilization.gpu", "memory.used", "memory.total")


@dataclass(frozen=True)
class Gpu:
    """One GPU: how busy in percent, memory in MiB."""

    name: str
    busy: float
    used_mb: float
    total_mb: float


def gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi knows; none where there is no nvidia-smi or no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return []
    return parsed_gpus(done.stdout) if done.returncode == 0 else []


def parsed_gpus(text: str) -> list[Gpu]:
    """nvidia-smi's lines; a figure that it does not have ("[N/A]") is 0."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.count(",") == len(_QUERY) - 1]
    return [Gpu(name, *(float(value) if value.replace(".", "").isdigit() else 0.0 for value in rest)) for name, *rest in rows]


def memory_gb() -> tuple[float, float]:
    """Memory in use and in all, GiB; zeros where /proc does not tell."""
    known = _meminfo()
    total = known.get("MemTotal", 0.0)
    return total - known.get("MemAvailable", total), total


def _meminfo() -> dict[str, float]:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return {}
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) / 2**20 for row in rows}


def group_memory_gb(group: int) -> float:
    """Memory of all processes of a process group, GiB; 0 when none is left."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group:
            total += int(fields[21]) * resource.getpagesize() / 2**30
    return total


def machine_line(group: int | None = None) -> str:
    """Memory and GPUs in one line for people; with `group` that of a job's processes too."""
    used, total = memory_gb()
    own = f", this job {group_memory_gb(group):.1f}" if group else ""
    parts = [f"memory {used:.1f} of {total:.1f} GiB{own}"] if total else []
    found = [f"{gpu.name}: {gpu.busy:.0f} % busy, {gpu.used_mb / 1024:.1f} of {gpu.total_mb / 1024:.1f} GiB" for gpu in gpus()]
    return " · ".join([*parts, *(found or ["no GPU"])])

"""Where figures go: the machine they are of, and each benchmark's own section of results.md."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results.md"


def machine(*more: str) -> str:
    """Cores, processor, Python, `more` (versions of what is measured) and the date, on one line."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    cores = f"{os.cpu_count()} cores ({model or platform.machine()})"
    return ", ".join([cores, f"Python {platform.python_version()}", *more, f"{datetime.now(UTC):%Y-%m-%d}"])


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Put `text` between the marks of the benchmark `name` in results.md, leaving everything else as it is."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    head, _, rest = old.partition(begin)
    tail = rest.partition(end)[2] if rest else ""
    path.write_text(f"{head.rstrip()}\n\n{begin}\n{text}\n{end}\n\n{tail.lstrip()}".rstrip() + "\n", encoding="utf-8")

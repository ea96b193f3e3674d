"""The epochs that a run wrote to metrics.jsonl, as a table; a file that grows is read on from where it was left."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from milbench.errors import DataError
from milbench.run_config import METRICS_FILE


@dataclass
class _Tail:
    """What was read of a file so far: its identity, the byte to go on from, its lines."""

    file: tuple[int, int] = (0, 0)
    place: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


_tails: dict[Path, _Tail] = {}
_lock = threading.Lock()


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of metrics.jsonl."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    with _lock, path.open("rb") as file:
        found = path.stat()
        tail = _tails.get(path)
        if tail is None or tail.file != (found.st_dev, found.st_ino) or found.st_size < tail.place:
            tail = _tails[path] = _Tail((found.st_dev, found.st_ino))
        file.seek(tail.place)
        whole, newline, _ = file.read().rpartition(b"\n")
        tail.rows += [_row(path, line) for line in whole.splitlines() if line.strip()]
        tail.place += len(whole) + len(newline)
        return list(tail.rows)


def _row(path: Path, line: bytes) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(path, "holds a line that is no JSON", got=line[:60].decode(errors="replace"), do="remove it") from error


def epochs_table(folder: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """The epochs of a study's trials: trial, fold, epoch, train_loss, val_macro_ap, val_min_ap, ap_<endpoint>.

    An epoch that was run twice (a trial that went on after an interruption) counts once, as it was the last time.
    """
    figures = ["train_loss", "val_macro_ap", "val_min_ap", *(f"ap_{name}" for name in tasks)]
    keys = ["trial", "fold", "epoch"]
    rows = [[row.get(name) for name in (*keys, *figures)] for row in epochs_of(folder) if isinstance(row.get("trial"), int)]
    table = pd.DataFrame(rows, columns=[*keys, *figures]).astype({key: "int64" for key in keys} | dict.fromkeys(figures, float))
    return table.drop_duplicates(keys, keep="last", ignore_index=True)

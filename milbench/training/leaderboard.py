"""How often a leaderboard was opened: a report on it is made once for a final model, and says for how many there was one."""

import json
import time
from pathlib import Path

from milbench.errors import DataError
from milbench.files import append_json

OPENINGS = "leaderboard_openings.jsonl"


def opened(study_dir: Path, model: str) -> int:
    """Note that the final model with these weights (a hash) is scored on the leaderboard; gives of how many that is known.

    A model whose report was interrupted, or is made again, counts once.
    """
    path = study_dir / OPENINGS
    models = _models(path) if path.is_file() else []
    if model not in models:
        append_json(path, {"time": round(time.time(), 3), "model": model})
        models.append(model)
    return len(models)


def _models(path: Path) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return list(dict.fromkeys(json.loads(line)["model"] for line in lines))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, "holds a line that is none of ours", do="mend or remove that line") from error

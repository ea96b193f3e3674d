"""What a study writes into optuna-dashboard about itself: a figure of each endpoint's AP, and a note on its best trial."""

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from milbench.files import hold_lock

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

FIGURE_ID = "milbench-ap-by-endpoint"
_BEGIN, _END = "<!-- milbench: rewritten by the study -->", "<!-- /milbench -->"
_OURS = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
_said: set[str] = set()


def write_cards(study: "Study", tasks: Sequence[str], folder: Path) -> None:
    """Write figure and note over the ones that are there; what people added to the note stays. One worker at a time.

    Without optuna-dashboard or plotly there are no cards, which is said once.
    """
    try:
        from optuna_dashboard import get_note, save_note, save_plotly_graph_object

        from milbench.figures.study import study_aps
    except ModuleNotFoundError as error:
        if not _said:
            _said.add("missing")
            log.info("no cards for optuna-dashboard: %s is not installed (pip install 'milbench[apps]')", error.name)
        return
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE" and trial.value is not None]
    if not complete:
        return
    try:
        with hold_lock(folder / "cards.lock"):
            save_plotly_graph_object(study, study_aps(complete, tasks), graph_object_id=FIGURE_ID)
            note, there = best_note(complete, tasks), get_note(study)
            save_note(study, _OURS.sub(lambda _: note, there) if _OURS.search(there) else f"{note}\n\n{there}".rstrip())
    except BlockingIOError:
        log.debug("another worker is writing the cards")


def best_note(complete: Sequence["FrozenTrial"], tasks: Sequence[str]) -> str:
    """The best trial as GitHub-flavoured Markdown: its AP an endpoint over the folds, its parameters."""
    best = max(complete, key=lambda trial: trial.value or -math.inf)
    attrs = best.user_attrs
    folds = sorted({int(key.split("_", 2)[1]) for key in attrs if key.startswith("fold_")})
    head = ["endpoint", "mean AP", *(f"fold {k + 1}" for k in folds)]
    rows = [[name, _text(attrs.get(f"ap_{name}")), *(_text(attrs.get(f"fold_{k}_ap_{name}")) for k in folds)] for name in tasks]
    parameters = [[name, _text(value)] for name, value in best.params.items()]
    return "\n".join(
        [
            _BEGIN,
            f"## Best trial: {best.number}, score {_text(best.value)}",
            f"Of {len(complete)} complete trial{'s' if len(complete) > 1 else ''}. Macro AP {_text(attrs.get('macro_ap'))}.",
            "",
            *_markdown(head, rows),
            "",
            *_markdown(["parameter", "value"], parameters),
            _END,
        ]
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _text(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3g}" if abs(value) < 0.01 else f"{value:.3f}"
    return "–" if value is None else str(value)

"""What comes after a study: its best trial as a final model, then that model's scores and attention."""

import re
from pathlib import Path

from milbench import ui
from milbench.data.results import result_files
from milbench.files import read_json
from milbench.run_config import ARTIFACT_PREFIX, FINAL_FOLDER, REPORT_FILE

TAB = "Final model"
PROMISE = (
    "The parameters of trial {trial} are trained once more, on the splits that the study was made on, but for an inner fold "
    "that is held out to say when to stop. A leaderboard, where the data have one, is then scored with that model, once."
)


def final_name(study: str, trial: int) -> str:
    """The folder that a trial's final model goes to, unless the user says otherwise."""
    return f"finals/{_stem(study)}-trial{trial}"


def _stem(study: str) -> str:
    """A study's name as part of a folder's that `study_folder` takes."""
    return re.sub(r"[^\w.-]+", "-", study)


def reports(root: Path, study: str) -> list[Path]:
    """The reports of the final models of a study that are there by now: promoted, or trained by the study's own run."""
    promoted = (root / "finals").glob(f"{_stem(study)}-trial*/{FINAL_FOLDER}/{REPORT_FILE}")
    return [root / study / FINAL_FOLDER / REPORT_FILE, *sorted(promoted)]


def is_trained(folder: Path) -> bool:
    """Whether a final model lies in `folder`."""
    return (folder / FINAL_FOLDER / REPORT_FILE).is_file()


def trained(root: Path, study: str, trial: int) -> str | None:
    """The run in which trial `trial` of a study was trained as a final model: promoted, or by the study's own run."""
    promoted, best = final_name(study, trial), root / study / f"{ARTIFACT_PREFIX}_best_params.json"
    if is_trained(root / promoted):
        return promoted
    own = is_trained(root / study) and best.is_file() and read_json(best).get("best_trial") == trial
    return study if own else None


def links(run: str) -> str:
    """Links to what a final model does, HTML; scores only where molecules were set apart to score it on."""
    scores = [ui.go("scores", "scoreboard", run=run)] if result_files(ui.root() / run) else []
    return " · ".join([*scores, ui.go("attention", "attention", run=run)])


def results(run: str) -> str:
    """What to look at of a final model, HTML."""
    return f"Look at its {links(run)}."


def next_step(study: str, best: int | None) -> str:
    """What to do with the best trial of a study, HTML; '' before there is one."""
    if best is None:
        return ""
    run = trained(ui.root(), study, best)
    if run is not None:
        return f"<span>Trial {best} is trained as a final model. {results(run)}</span>"
    if ui.is_active(ui.job_state(ui.root() / final_name(study, best))):
        return ui.go("The final model is being trained", "study_review", study=study, trials=best, tab=TAB)
    return ui.go("Next: train the final model", "study_review", study=study, trials=best, tab=TAB)

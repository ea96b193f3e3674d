"""Studies on disk, without a run."""

from pathlib import Path

import optuna
from optuna.trial import TrialState

from milbench.training.storage import open_storage, remember


def make_study(folder: Path, values: tuple[float, ...] = (0.2, 0.7, 0.5), url: str | None = None) -> Path:
    """A study with these complete trials, a pruned and a running one; at `url`, if not in its folder."""
    folder.mkdir(parents=True)
    remember(folder, url)
    study = optuna.create_study(study_name="milbench", storage=open_storage(folder, url), direction="maximize")
    for value in values:
        study.add_trial(optuna.trial.create_trial(value=value, params={}, distributions={}))
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED, value=0.9))
    study.ask()
    return folder

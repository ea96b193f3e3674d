"""From a trial to a final model: its complete parameters, and the command that trains on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milbench.configs import HPOConfig, checked_pins
from milbench.data.manifest import store_tasks
from milbench.errors import DataError, StudyError
from milbench.files import make_folder, read_json, write_json
from milbench.flags import assigned, flags_of, from_record
from milbench.jobs import Job, submit
from milbench.review.study import StudyView
from milbench.run_config import PipelineConfig
from milbench.runlog import SEARCH
from milbench.tasks import TaskSet, load_tasks

PARAMETERS = "params.json"
_OF_THE_SEARCH = ("trials", "range", "storage", "workers", "enqueue")
"""What a final training is not asked."""


@dataclass(frozen=True)
class Promotion:
    """A trial's final training: `folder` of its own, the parameters, and the arguments of `milbench` that train it."""

    trial: int
    folder: Path
    params: dict[str, Any]
    config: PipelineConfig

    @property
    def command(self) -> list[str]:
        """`run` with its flags."""
        return ["run", *flags_of(self.config)]

    def prepare(self) -> None:
        """Write the parameters where the command reads them; a folder in which a run lies already is a StudyError."""
        path = self.folder / PARAMETERS
        if path.is_file() and read_json(path) != self.params:
            raise StudyError(self.folder, "holds another run", do="choose another name")
        make_folder(self.folder)
        write_json(path, self.params)

    def start(self) -> Job:
        """Write the parameters and start the training as a job; started again, it goes on."""
        self.prepare()
        return submit(self.command, self.folder)


def promotion(view: StudyView, trial: int, folder: Path) -> Promotion:
    """Train trial `trial` as a final model in `folder`, with the data and the settings of its study."""
    config = study_config(view.folder)
    tasks = store_tasks(config.store) if config.store is not None else load_tasks(config.tasks)
    config = from_record(
        PipelineConfig,
        vars(config),
        study_dir=folder,
        best_params_json=folder / PARAMETERS,
        run_hpo=False,
        fix=(),
        attn_out=None,
        fold_models=False,
        **{name: getattr(PipelineConfig, name) for name in _OF_THE_SEARCH},
    )
    return Promotion(trial, folder, complete_params(view, trial, tasks), config)


def complete_params(view: StudyView, trial: int, tasks: TaskSet) -> dict[str, Any]:
    """Every hyperparameter of a trial: searched, pinned, the defaults of the rest; its number and score beside them."""
    if trial not in set(view.trials["number"]):
        raise StudyError(view.folder, f"has no trial {trial}", do="choose one of its table")
    config = study_config(view.folder)
    pins = checked_pins(assigned(config.fix, "--fix"), tasks)
    given = {"min_w": config.min_w, **pins, **view.searched(trial)}
    params = HPOConfig.from_params(given, tasks, where=f"trial {trial}").to_params(tasks)
    row = view.trials.set_index("number").loc[trial]
    return {**params, "best_trial": trial, "best_value_score": row["value"], "best_value_macro_ap_cv": row["macro_ap"]}


def study_config(folder: Path) -> PipelineConfig:
    """What the study in `folder` was asked to do, with paths that hold here; a DataError where it has not recorded it."""
    path = folder / "run_meta.json"
    if not path.is_file():
        raise DataError(folder, "does not say what it was run on (no run_meta.json)", do="run its command again")
    meta = read_json(path)
    meta = meta.get(SEARCH, meta)
    if not meta["arguments"].get("run_hpo"):
        raise DataError(folder, "does not say how it was searched", do="run its search again: finished trials stay")
    config = from_record(PipelineConfig, meta["arguments"], study_dir=folder)
    base = Path(meta.get("cwd", "."))
    base = Path() if base == Path.cwd() else base  # as it was given
    paths = {name: base / value for name, value in vars(config).items() if isinstance(value, Path)}
    config = from_record(PipelineConfig, {**vars(config), **paths})
    for path in (config.store, config.labels):
        if path is not None and not path.exists():
            raise DataError(path, "is not there any more", do="put it back, or run the study's command by hand")
    return config

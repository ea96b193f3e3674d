"""The life of a study: opened or joined, run to its budget, its artifacts written (seed 1.2)."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from milbench.cards import write_cards
from milbench.configs import HPOConfig, check_search_space
from milbench.errors import ConfigError, StudyError
from milbench.files import content_hash, make_folder, write_json, write_table
from milbench.run_config import ARTIFACT_PREFIX
from milbench.seeds import stream_seed
from milbench.storage_url import shown, with_password
from milbench.training.cross_validation import CVResult, MILCrossValidator
from milbench.training.lease import ATTRIBUTE, lease, reap
from milbench.training.pruning import build_pruner
from milbench.training.work import TRIALS_WORK, forget_work
from milbench.trial_tables import fold_figures

log = logging.getLogger(__name__)

HEARTBEAT_S = 60
MAX_FAILURES = 3
FAILURE = "failure"
"""The attribute that says why a trial failed; an interrupted one has none."""
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """What Optuna calls experimental, used without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def open_storage(folder: Path, url: str | None) -> Any:
    """The storage at `url`, or study.db in `folder`; one that cannot be opened is a ConfigError or StudyError."""
    file = folder / "study.db"
    if url is None and "?" in str(file):
        raise ConfigError(folder, "has a ? in its name, which no database URL can hold", do="choose another --study_dir")
    if url in {"sqlite://", "sqlite:///:memory:"}:
        raise ConfigError("--storage", "would forget the study", got=url, do="name a file, sqlite:///path/study.db")
    name = url or f"sqlite:///{file}"
    options = {"connect_args": {"timeout": 60}} if name.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        if not name.split("://")[0].startswith(("sqlite", "postgresql", "mysql")):
            return optuna.storages.get_storage(with_password(name))
        with _experimental():
            return optuna.storages.RDBStorage(with_password(name), engine_kwargs=options, heartbeat_interval=HEARTBEAT_S)
    except (ImportError, ValueError, OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        why = f"cannot be opened ({str(error).splitlines()[0][:200]})"
        if url is None:
            raise StudyError(file, why, do="move it away, or use another --study_dir") from error
        raise ConfigError("--storage", why, got=shown(name), want="an Optuna storage URL") from error


@dataclass(frozen=True)
class MILStudyRunner:
    """Runs a study in `folder` until it has `validator.run.trials` finished trials; run again, it goes on where it stopped."""

    validator: MILCrossValidator
    folder: Path
    storage: str | None = None
    name: str = "milbench"

    def settings(self) -> dict[str, Any]:
        """What all trials of a study must share to be comparable."""
        run, data = self.validator.run, self.validator.data
        return {
            "data": data.bags.content,
            "folds": content_hash(data.fold_of)[:16],
            "tasks": ", ".join(data.tasks.names),
            "min_w": "searched" if run.search_min_w else run.min_w,
            "max_epochs": run.max_epochs,
            "patience": run.patience,
            "seed": run.runtime.seed,
            "prescaled": data.prescaled,
            "impute": data.impute,
            "precision": run.runtime.precision,
            "fixed": ", ".join(sorted([f"{k}={v}" for k, v in run.pins.items()] + [p.range_flag for p in run.ranges.values()])),
        }

    def open(self) -> optuna.Study:
        """Create the study, or join it if its settings are the same; a StudyError shows the difference otherwise."""
        make_folder(self.folder)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines would repeat ours
        study = optuna.create_study(
            storage=open_storage(self.folder, self.storage),
            study_name=self.name,
            direction="maximize",
            load_if_exists=True,
            pruner=build_pruner(self.validator.run.pruner, self.validator.run.max_epochs),
        )
        wanted, there = self.settings(), study.user_attrs.get("settings")
        if there is None:
            study.set_user_attr("settings", wanted)
            with _experimental():
                study.set_metric_names(["score"])
        elif there != wanted:
            differ = [f"{k}: {there.get(k)!r} there, {wanted[k]!r} here" for k in wanted if there.get(k) != wanted[k]]
            raise StudyError(
                self.folder, "holds a study with other settings", want="; ".join(differ), do="use another --study_dir"
            )
        return study

    def run(self) -> optuna.Study:
        """Run trials until the budget of finished ones is reached, then write the artifacts."""
        run = self.validator.run
        check_search_space(self.validator.data.tasks, run.pins, run.ranges)
        study = self.open()
        with lease(self.folder / "workers") as worker:
            reaped = reap(study, self.folder / "workers", worker)
            if reaped:
                log.info("%d interrupted trial(s) found, run again", reaped)
            self._forget_work(study)
            failures = 0
            while self.finished(study) < run.trials:
                failure = self._one_trial(study, worker)
                failures = 0 if failure is None else failures + 1
                write_cards(study, self.validator.data.tasks.names, self.folder)
                if failures == MAX_FAILURES:
                    why = f"{MAX_FAILURES} trials in a row failed, the last one with: {failure}"
                    raise StudyError(self.folder, why) from failure
            forget_work(self.folder / TRIALS_WORK)
        self.write_artifacts(study)
        return study

    @staticmethod
    def finished(study: optuna.Study) -> int:
        """COMPLETE and PRUNED trials."""
        return len(study.get_trials(deepcopy=False, states=_DONE))

    def _one_trial(self, study: optuna.Study, worker: str) -> StudyError | None:
        """Run one trial under the storage's heartbeat; gives why it failed, if it did. Interrupted, it is no longer RUNNING."""
        failed: list[StudyError] = []

        def objective(trial: optuna.Trial) -> float:
            trial.set_user_attr(ATTRIBUTE, worker)
            try:
                result = dataclasses.replace(self.validator, work=self.folder / TRIALS_WORK).objective(trial)
            except optuna.TrialPruned as pruned:
                log.info("trial %d: pruned at %s", trial.number, pruned)
                raise
            except StudyError as error:
                failed.append(error)
                log.warning("trial %d failed: %s", trial.number, error)
                trial.set_user_attr(FAILURE, str(error))
                raise
            self._record(study, trial, result)
            log.info("trial %d: value=%.4f", trial.number, result.value)
            return result.value

        study.sampler = self._sampler(study)
        study.optimize(objective, n_trials=1, catch=(StudyError,))
        self._forget_work(study)
        return failed[0] if failed else None

    def _forget_work(self, study: optuna.Study) -> None:
        """Remove what trials have kept that are over; an interrupted one is asked for again and goes on."""
        trials = study.get_trials(deepcopy=False)
        over = {trial.number for trial in trials if trial.state in _DONE or FAILURE in trial.user_attrs}
        forget_work(self.folder / TRIALS_WORK, over.__contains__)

    def _sampler(self, study: optuna.Study) -> TPESampler:
        """TPE seeded by how many trials count so far: a resumed study asks as the uninterrupted one would have.

        Interrupted trials do not count, so theirs is asked for again; those that went wrong do, so another is.
        """
        trials = study.get_trials(deepcopy=False)
        counted = sum(trial.state != TrialState.FAIL or FAILURE in trial.user_attrs for trial in trials)
        seed = stream_seed(self.validator.run.runtime.seed, "tpe", counted) % 2**32
        with _experimental():
            return TPESampler(seed=seed, multivariate=True, group=False, constant_liar=True)

    def _record(self, study: optuna.Study, trial: optuna.Trial, result: CVResult) -> None:
        """Store the trial's means, and the out-of-fold predictions if no finished trial is better."""
        trial.set_user_attr("macro_ap", result.macro_ap)
        for t, name in enumerate(self.validator.data.tasks.names):
            aps = [float(fold.metrics.ap[t]) for fold in result.folds]
            known = [ap for ap in aps if ap == ap]
            trial.set_user_attr(f"ap_{name}", sum(known) / len(known) if known else float("nan"))
        best = [t.value for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.value is not None]
        if not best or result.value > max(best):
            table = self.validator.out_of_fold(result)
            write_table(self.folder / "oof.parquet", table.assign(trial=trial.number))

    def write_artifacts(self, study: optuna.Study) -> None:
        """Trials table, best parameters (complete), the best trial's folds."""
        frame = study.trials_dataframe()
        write_table(self.folder / f"{ARTIFACT_PREFIX}_trials.csv", frame)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            raise StudyError(self.folder, "no trial finished", do="raise --trials, or prune less")
        best = study.best_trial
        params = {**self.best_config(study).to_params(self.validator.data.tasks)}
        recorded = {
            "best_value_score": best.value,
            "best_value_macro_ap_cv": best.user_attrs["macro_ap"],
            "best_trial": best.number,
        }
        write_json(self.folder / f"{ARTIFACT_PREFIX}_best_params.json", {**params, **recorded})
        folds = [{"fold": k, **figures} for k, figures in sorted(fold_figures(best).items())]
        write_json(self.folder / f"{ARTIFACT_PREFIX}_best_fold_metrics.json", folds)

    def best_config(self, study: optuna.Study) -> HPOConfig:
        """The best trial's configuration."""
        fixed = optuna.trial.FixedTrial(study.best_trial.params)
        return self.validator.config_of(fixed)  # type: ignore[arg-type]

"""The life of a study: opened or joined, run to its budget by one worker or many, its artifacts written (seed 1.2)."""

import dataclasses
import json
import logging
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from milbench.cards import write_cards
from milbench.configs import HPOConfig, check_search_space
from milbench.data.choice import CHOSEN
from milbench.errors import StudyError
from milbench.files import content_hash, lend_lock, make_folder, write_json, write_table
from milbench.run_config import ARTIFACT_PREFIX, OOF_FILE
from milbench.seeds import stream_seed
from milbench.stopping import stop_signals
from milbench.storage_url import STUDY_NAME, where
from milbench.training.claims import FINISHED, WORKER, Claims, finished, is_over
from milbench.training.fold_models import FOLD_MODELS, keep_fold_models
from milbench.training.lease import beating, lease
from milbench.training.pruning import build_pruner
from milbench.training.storage import experimental, open_storage, remember, settled, told_of_storage
from milbench.training.together import worth_it
from milbench.training.work import TRIALS_WORK, forget_work
from milbench.trial_tables import CONFIGURATION, FAILURE, fold_figures

if TYPE_CHECKING:
    from milbench.training.cross_validation import CVResult, MILCrossValidator

log = logging.getLogger(__name__)

WORKERS = "workers"
"""Folder of the workers' locks, in the study's folder."""
MAX_EQUAL, MAX_FAILURES = 3, 10
"""So many failures in a row for the same reason, or for any, stop a study."""
_WAIT_S = 1.0


@dataclass(frozen=True)
class MILStudyRunner:
    """Runs a study in `folder` until it has `validator.run.trials` finished trials; run again, it goes on where it stopped."""

    validator: "MILCrossValidator"
    folder: Path
    storage: str | None = None

    def url(self) -> str | None:
        """Where the study lives; a folder remembers that."""
        there, here = where(self.folder), None if self.storage is None else settled(self.storage)
        if here is not None and there not in {None, here}:
            what = f"holds a study that lives in {there}"
            raise StudyError(self.folder, what, got=here, do="leave out --storage, or use another --study_dir")
        return self.storage or there

    def settings(self) -> dict[str, Any]:
        """What all trials of a study must share to be comparable."""
        run, data = self.validator.run, self.validator.data
        return {
            "data": data.bags.content,
            "folds": content_hash(data.fold_of)[:16],
            "tasks": ", ".join(data.tasks.names),
            "endpoints": content_hash(text=json.dumps(data.tasks.to_dict(), sort_keys=True))[:16],
            "min_w": "searched" if run.search_min_w else run.min_w,
            "max_epochs": run.max_epochs,
            "patience": run.patience,
            "seed": run.runtime.seed,
            "prescaled": data.prescaled,
            "impute": data.impute,
            "scaling": data.scaling.words,
            "features": json.dumps(data.bags.provenance.get(CHOSEN, {})),
            "precision": run.runtime.precision,
            "parallel_folds": "on" if worth_it(run.parallel_folds, run.runtime) else "off",
            "fixed": ", ".join(sorted([f"{k}={v}" for k, v in run.pins.items()] + [p.range_flag for p in run.ranges.values()])),
        }

    def open(self) -> optuna.Study:
        """Create the study, or join it if its settings are the same; a StudyError shows the difference otherwise."""
        make_folder(self.folder / WORKERS)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines would repeat ours
        with lend_lock(self.folder / WORKERS / "turn", 600):
            study = optuna.create_study(
                storage=open_storage(self.folder, self.url()),
                study_name=STUDY_NAME,
                direction="maximize",
                load_if_exists=True,
                pruner=build_pruner(self.validator.run.pruner, self.validator.run.max_epochs),
            )
            remember(self.folder, None if self.storage is None else settled(self.storage))
            self._settle(study)
        return study

    def _settle(self, study: optuna.Study) -> None:
        """Freeze a new study's settings; those of one that is there must be the same."""
        wanted, there = self.settings(), self._settled(study)
        if there is None:
            study.set_user_attr("settings", wanted)
            with experimental():
                study.set_metric_names(["score"])
            return
        if self.validator.run.parallel_folds == "auto":
            wanted["parallel_folds"] = there["parallel_folds"]
        differ = [f"{k}: {there[k]!r} there, {wanted[k]!r} here" for k in wanted if k in there and there[k] != wanted[k]]
        if differ:
            what = "holds a study with other settings"
            raise StudyError(self.folder, what, want="; ".join(differ), do="use another --study_dir")

    def _settled(self, study: optuna.Study) -> dict[str, Any] | None:
        """The settings that the study has, complete; None while it has none."""
        there = study.user_attrs.get("settings")
        return None if there is None else {"parallel_folds": "off", **there}

    def run(self) -> optuna.Study:
        """Run trials until the budget of finished ones is reached, then write the artifacts."""
        study = self.work()
        self.write_artifacts(study)
        return study

    def work(self) -> optuna.Study:
        """Be a worker of the study until its budget of finished trials is reached, alone or beside others."""
        run = self.validator.run
        check_search_space(self.validator.data.tasks, run.pins, run.ranges)
        study = self.open()
        gave_up = told_of_storage(self.storage or str(self.folder))
        with gave_up, lease(self.folder / WORKERS) as own, Claims(study, own) as claims:
            claims.reap()
            first = len(study.get_trials(deepcopy=False))
            self._forget_work(study)
            while finished(study) < run.trials:
                trial = claims.take(run.trials)
                if trial is None:
                    time.sleep(_WAIT_S * random.uniform(0.5, 1.5))  # not in step with others
                else:
                    self._run_trial(claims, trial)
                    self._forget_work(study)
                    write_cards(study, self.validator.data.tasks.names, self.folder)
                self._refuse_failing(study, first)
            forget_work(self.folder / TRIALS_WORK)
            own.sweep()  # after workers that were killed before they had a trial
        return study

    def _run_trial(self, claims: Claims, claimed: FrozenTrial) -> None:
        """Run one trial and leave it finished, failed with a reason, or (interrupted) to be run again."""
        try:
            with beating(claims.study._storage, claimed._trial_id):
                trial = self._asked(claims.study, claimed)
                outcome = self._outcome(trial, self._settled(claims.study))
            if isinstance(outcome, StudyError):
                trial.set_user_attr(FAILURE, str(outcome))
                claims.finish(claimed, TrialState.FAIL)
            elif outcome is None:
                values = claims.study._storage.get_trial(claimed._trial_id).intermediate_values
                claims.finish(claimed, TrialState.PRUNED, values[max(values)])
            else:
                with stop_signals(defer=True):  # it is finished, and the stop heard then
                    self._record(claims, claimed, trial, outcome)
        except UpdateFinishedTrialError:
            log.warning("trial %d was given up by another worker, which saw no sign of life; it is run again", claimed.number)

    def _outcome(self, trial: optuna.Trial, settings: dict[str, Any] | None) -> "CVResult | StudyError | None":
        """What the objective gives: all folds, None where it was pruned, or why it failed."""
        together = settings is not None and settings["parallel_folds"] == "on"
        try:
            return dataclasses.replace(self.validator, work=self.folder / TRIALS_WORK, together=together).objective(trial)
        except optuna.TrialPruned as pruned:
            log.info("trial %d: pruned at %s", trial.number, pruned)
            return None
        except StudyError as error:
            log.warning("trial %d failed: %s", trial.number, error)
            return error

    def _asked(self, study: optuna.Study, claimed: FrozenTrial) -> optuna.Trial:
        """The trial with its parameters to ask for. TPE is seeded by the configuration, so a study asks the same twice."""
        seed = stream_seed(self.validator.run.runtime.seed, "tpe", claimed.user_attrs[CONFIGURATION]) % 2**32
        with experimental():
            study.sampler = TPESampler(seed=seed, multivariate=True, group=False, constant_liar=True)
        study._thread_local.cached_all_trials = None  # as Study.ask does: others have gone on meanwhile
        return optuna.Trial(study, claimed._trial_id)

    def _forget_work(self, study: optuna.Study) -> None:
        """Remove what trials have kept that are over; an interrupted one is asked for again and goes on."""
        over = {trial.number for trial in study.get_trials(deepcopy=False) if is_over(trial)}
        forget_work(self.folder / TRIALS_WORK, over.__contains__)

    def _record(self, claims: Claims, claimed: FrozenTrial, trial: optuna.Trial, result: "CVResult") -> None:
        """Store the trial's means and finish it; its out-of-fold predictions, if no finished trial is better."""
        trial.set_user_attr("macro_ap", result.macro_ap)
        for t, name in enumerate(self.validator.data.tasks.names):
            aps = [float(fold.metrics.ap[t]) for fold in result.folds]
            known = [ap for ap in aps if ap == ap]
            trial.set_user_attr(f"ap_{name}", sum(known) / len(known) if known else float("nan"))
        table = self.validator.out_of_fold(result).assign(trial=trial.number)
        with claims.turn():
            complete = claims.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if all(other.value is None or result.value > other.value for other in complete):
                write_table(self.folder / OOF_FILE, table)
                if self.validator.run.keep_models:
                    make_folder(self.folder / FOLD_MODELS)
                    keep_fold_models(self.folder, self.validator.data, result, trial.number)
            claims.finish(claimed, TrialState.COMPLETE, result.value)
        log.info("trial %d: value=%.4f", trial.number, result.value)

    def _refuse_failing(self, study: optuna.Study, first: int) -> None:
        """Stop a study that fails again and again, counted from trial number `first` on, whichever worker ran them."""
        row = failures_in_a_row(study.get_trials(deepcopy=False)[first:])
        equal = len(row) >= MAX_EQUAL and len({cause(text) for text in row[:MAX_EQUAL]}) == 1
        if equal or len(row) >= MAX_FAILURES:
            count = MAX_EQUAL if equal else MAX_FAILURES
            raise StudyError(self.folder, f"{count} trials in a row failed, the last one with: {row[0]}")

    def write_artifacts(self, study: optuna.Study) -> None:
        """Trials table, best parameters (complete), the best trial's folds."""
        frame = study.trials_dataframe()
        write_table(self.folder / f"{ARTIFACT_PREFIX}_trials.csv", frame)
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise StudyError(self.folder, "no trial finished", do="raise --trials, or prune less")
        best = study.best_trial
        self._tell_elsewhere(best)
        params = {**self.best_config(study).to_params(self.validator.data.tasks)}
        recorded = {
            "best_value_score": best.value,
            "best_value_macro_ap_cv": best.user_attrs["macro_ap"],
            "best_trial": best.number,
        }
        write_json(self.folder / f"{ARTIFACT_PREFIX}_best_params.json", {**params, **recorded})
        folds = [{"fold": k, **figures} for k, figures in sorted(fold_figures(best).items())]
        write_json(self.folder / f"{ARTIFACT_PREFIX}_best_fold_metrics.json", folds)

    def _tell_elsewhere(self, best: FrozenTrial) -> None:
        """Say so where the best trial's predictions lie in another worker's folder."""
        path = self.folder / OOF_FILE
        if not path.is_file() or int(pd.read_parquet(path, columns=["trial"])["trial"].iloc[0]) != best.number:
            worker = best.user_attrs.get(WORKER, "another program")
            log.warning("%s: not of the best trial, %d, which %s ran: look in its study folder", path, best.number, worker)

    def best_config(self, study: optuna.Study) -> HPOConfig:
        """The best trial's configuration."""
        fixed = optuna.trial.FixedTrial(study.best_trial.params)
        return self.validator.config_of(fixed)  # type: ignore[arg-type]


def failures_in_a_row(trials: Sequence[FrozenTrial]) -> list[str]:
    """Reasons of the failures since the last trial that finished, the newest first; interrupted trials are none."""
    ended = [trial for trial in trials if trial.datetime_complete is not None]
    row: list[str] = []
    for trial in sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number), reverse=True):
        if trial.state in FINISHED:
            break
        if FAILURE in trial.user_attrs:
            row.append(trial.user_attrs[FAILURE])
    return row


def cause(failure: str) -> str:
    """A failure's reason without numbers and parameter names: two trials that became NaN elsewhere failed for the same."""
    return re.sub(r"\w*[.\d][.\w]*", "#", re.sub(r"parameter \S+", "parameter #", failure))

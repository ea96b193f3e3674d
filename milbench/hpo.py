"""The search: a study run by this process alone, or by several that it starts."""

import logging
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from milbench.data.cv import MILCVData
from milbench.flags import flags_of
from milbench.progress import progress
from milbench.run_config import CVRunConfig, HpoConfig, PipelineConfig
from milbench.runlog import RunFolder
from milbench.training.claims import finished
from milbench.training.cross_validation import EpochWatch, MILCrossValidator
from milbench.training.enqueue import enqueue
from milbench.training.fold import Epoch
from milbench.training.storage import told_of_storage
from milbench.training.study import MILStudyRunner
from milbench.workers import visible_gpus, work_together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """The search that `config` asks for, on `data`, told to `folder`."""

    config: PipelineConfig
    settings: CVRunConfig
    folder: RunFolder
    data: MILCVData

    def run(self) -> optuna.Study:
        """Run the study to its budget and write its artifacts; run again, it goes on where it stopped."""
        study = self._runner(None).open()
        if self.config.enqueue is not None:
            count = enqueue(study, self.config.enqueue, self.data.tasks, self.settings)
            log.info("%d new configuration(s) enqueued from %s", count, self.config.enqueue)
        return self._alone(study) if self.config.workers == 1 else self._together(study)

    def work(self) -> None:
        """Be one of several workers: run trials, and leave all else to the process that started them."""
        self._runner(self._measure).work()

    def _runner(self, watch: EpochWatch | None) -> MILStudyRunner:
        validator = MILCrossValidator(self.data, self.settings, watch)
        return MILStudyRunner(validator, self.config.study_dir, self.config.storage)

    def _measure(self, trial: int, fold: int, epoch: Epoch) -> None:
        self.folder.metric(trial=trial, fold=fold, **epoch.to_dict())

    def _alone(self, study: optuna.Study) -> optuna.Study:
        folds, before = self.data.n_folds, dict[int, int]()
        with progress("study", self.settings.trials * folds, finished(study) * folds) as advance:

            def watch(trial: int, fold: int, epoch: Epoch) -> None:
                self._measure(trial, fold, epoch)
                if trial not in before:  # the storage is asked once a trial
                    before[trial] = finished(study)
                advance(before[trial] * folds + fold, f"trial {trial} fold {fold + 1} epoch {epoch.number + 1}")

            return self._runner(watch).run()

    def _together(self, study: optuna.Study) -> optuna.Study:
        import torch

        count = self.config.workers
        gpus = [] if self.config.nn_accelerator == "cpu" else visible_gpus(torch.cuda.device_count())
        gave_up = told_of_storage(self.config.storage or str(self.config.study_dir))
        with gave_up, progress("study", self.settings.trials, finished(study)) as advance:

            def tick() -> int:
                over = finished(study)
                running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
                advance(over, f"with {running} of {count} workers on a trial")
                return over

            work_together(["hpo", *flags_of(HpoConfig.worker(self.config))], count, gpus, tick)
        self._runner(None).write_artifacts(study)
        return study

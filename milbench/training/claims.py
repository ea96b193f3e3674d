"""Which configuration a worker runs next, so that a study of any number of workers, restarts and kills ends exact.

Everything is read off the study's trials, so it holds after a kill at any moment. Configurations are numbered as they are asked
for (attribute `configuration`); interrupted, one is run again by a new trial with the same parameters. It is over when a trial
of it is COMPLETE, PRUNED, or FAIL with a reason (attribute `failure`).

Workers that share the study's folder take turns by a lock. Workers elsewhere may claim at the same moment: so whoever has
started a trial looks again, and withdraws if the budget is taken or another runs the configuration. Both may, never neither.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from milbench.files import lend_lock
from milbench.stopping import stop_signals
from milbench.training.lease import BEAT, GRACE_S, Lease
from milbench.training.storage import STORAGE_ERRORS
from milbench.trial_tables import CONFIGURATION, FAILURE, is_interrupted

log = logging.getLogger(__name__)

WORKER, LOST = "worker", "lost"
"""Attributes of a trial: who runs it, that its worker went away."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
MOST_LOST = 10
"""A configuration whose workers went away so often is not tried again: it may be what ends them."""
_FIXED = "fixed_params"
_LOCK_WAIT_S = 600.0


@dataclass
class Claims:
    """Hands trials of `study` to the worker that holds `lease`."""

    study: optuna.Study
    lease: Lease
    _seen: dict[int, tuple[Any, float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One worker of the folder at a time."""
        with lend_lock(self.lease.folder / "turn", _LOCK_WAIT_S):
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """What ends this worker, at whatever moment, leaves its RUNNING trials to be run again."""
        if kind is None:
            return
        try:
            own = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
        except STORAGE_ERRORS as error:
            log.warning("the study could not be read to leave its trials: %s", str(error).splitlines()[0])
            return
        for trial in own:
            if trial.user_attrs.get(WORKER) == self.lease.name:
                self.leave(trial)

    def take(self, budget: int) -> FrozenTrial | None:
        """A trial to run, RUNNING and this worker's; None as long as the rest of the budget is others' work.

        A stop waits until it is done: an interrupted write would leave the storage locked against our own next one.
        """
        with self.turn(), stop_signals(defer=True):
            self.reap()
            trials = self._trials()
            if len(_live(trials)) >= budget:
                return None
            started = self._start(trials)
            if started is not None and not self._holds(started, budget):
                self.leave(started)
                return None
            return started

    def reap(self) -> int:
        """Fail the RUNNING trials whose worker is gone, so that their configurations are run again; gives how many."""
        gone = self.gone()
        for trial in gone:
            with contextlib.suppress(UpdateFinishedTrialError):  # another worker was faster
                self.study._storage.set_trial_user_attr(trial._trial_id, LOST, True)
                self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                log.info("trial %d: its worker is gone; it is run again", trial.number)
        if gone:
            self.lease.sweep()
        return len(gone)

    def gone(self) -> list[FrozenTrial]:
        """RUNNING trials whose worker is gone."""
        return [trial for trial in self._trials() if trial.state == TrialState.RUNNING and self._is_gone(trial)]

    def finish(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """Finish a trial; an UpdateFinishedTrialError if another worker has given it up."""
        self.study._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])

    def leave(self, trial: FrozenTrial) -> None:
        """Leave an interrupted trial to be run again; where it cannot be told, the next start finds its worker gone."""
        try:
            self.finish(trial, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return
        except STORAGE_ERRORS as error:
            log.warning("trial %d could not be left: %s", trial.number, str(error).splitlines()[0])

    def _is_gone(self, trial: FrozenTrial) -> bool:
        """Trials without a worker's name were asked for by somebody's own code, and are theirs."""
        worker = trial.user_attrs.get(WORKER)
        if worker is None:
            return False
        if self.lease.here(worker):
            return not self.lease.lives(worker)
        sign = trial.system_attrs.get(BEAT), len(trial.intermediate_values), len(trial.user_attrs), len(trial.params)
        before, since = self._seen.get(trial._trial_id, (None, 0.0))
        if sign != before:
            self._seen[trial._trial_id] = sign, time.monotonic()
            return False
        return time.monotonic() - since > GRACE_S

    def _start(self, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """What is owed first, then what was enqueued, then something new."""
        for configuration, params in owed(trials):
            return self._create(configuration, params)
        for trial in trials:
            if trial.state == TrialState.WAITING:
                return self._pop(trial)
        numbers = [trial.user_attrs.get(CONFIGURATION, trial.number) for trial in trials]
        return self._create(1 + max((number for number in numbers if isinstance(number, int)), default=-1), {})

    def _create(self, configuration: int | str, params: dict[str, Any]) -> FrozenTrial:
        """A RUNNING trial with its worker's name from its first moment on."""
        names = {WORKER: self.lease.name, CONFIGURATION: configuration}
        template = create_trial(state=TrialState.RUNNING, user_attrs=names, system_attrs={_FIXED: params} if params else {})
        storage = self.study._storage
        return storage.get_trial(storage.create_new_trial(self.study._study_id, template_trial=template))

    def _pop(self, trial: FrozenTrial) -> FrozenTrial | None:
        """An enqueued trial as RUNNING; None if another worker took it. The name comes first: no trial runs without."""
        storage = self.study._storage
        storage.set_trial_user_attr(trial._trial_id, WORKER, self.lease.name)
        storage.set_trial_user_attr(trial._trial_id, CONFIGURATION, f"enqueued {trial.number}")
        if not storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
            return None
        storage.set_trial_user_attr(trial._trial_id, WORKER, self.lease.name)
        return storage.get_trial(trial._trial_id)

    def _holds(self, own: FrozenTrial, budget: int) -> bool:
        """Whether there is room for `own` beside what others have started meanwhile."""
        others = [trial for trial in self._trials() if trial.number != own.number]
        same = [trial for trial in others if trial.user_attrs.get(CONFIGURATION) == own.user_attrs[CONFIGURATION]]
        taken = any(is_over(trial) or (trial.state == TrialState.RUNNING and trial.number < own.number) for trial in same)
        return not taken and len(_live(others)) < budget

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)


def finished(study: optuna.Study) -> int:
    """How many trials count towards the budget: COMPLETE and PRUNED ones."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def owed(trials: Sequence[FrozenTrial]) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """Configurations whose trials were all interrupted, in the order they were asked for, with the parameters they had."""
    by_configuration: dict[int | str, list[FrozenTrial]] = {}
    for trial in trials:
        if CONFIGURATION in trial.user_attrs and trial.state != TrialState.WAITING:
            by_configuration.setdefault(trial.user_attrs[CONFIGURATION], []).append(trial)
    for configuration, runs in by_configuration.items():
        if all(map(is_interrupted, runs)) and sum(LOST in run.user_attrs for run in runs) < MOST_LOST:
            params: dict[str, Any] = {}
            for run in runs:
                params |= run.system_attrs.get(_FIXED, {}) | run.params
            yield configuration, params


def _live(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that count or may come to count towards the budget."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING and WORKER in trial.user_attrs]
    return [trial for trial in trials if trial.state in FINISHED] + running


def is_over(trial: FrozenTrial) -> bool:
    """Whether its configuration is done with."""
    return trial.state in FINISHED or (trial.state == TrialState.FAIL and FAILURE in trial.user_attrs)

"""Every study below a folder as one Optuna storage, each in its own file: what the embedded dashboard reads.

A study keeps its number (`workspace.study_number`, from its path); a trial's is study · 2^20 + its own. Studies and trials are
not made here: those are the runs' business.
"""

import copy
import threading
import time
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from milbench.errors import StudyError
from milbench.workspace import name_of, open_study, study_folders, study_number

TRIALS = 1 << 20
"""Trials a study may have; numbers stay below 2^53, which a browser counts exactly."""
FRESH_S = 2.0


class AllStudies(BaseStorage):
    """Reads and, where it is let, changes the studies below `root` in their own storages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._folders: dict[int, Path] = {}
        self._looked = float("-inf")

    def _all(self) -> dict[int, Path]:
        """Study numbers and folders, looked up again every two seconds."""
        with self._lock:
            if time.monotonic() - self._looked > FRESH_S:
                self._folders = {study_number(self.root, folder): folder for folder in study_folders(self.root)}
                self._looked = time.monotonic()
            return self._folders

    def _own(self, study_id: int) -> tuple[Any, int]:
        """The storage of a study and its number there; a study that is gone is a KeyError, as Optuna has it."""
        try:
            study = open_study(self._all()[study_id])
        except StudyError as error:
            raise KeyError(study_id) from error
        return study._storage, study._study_id

    def _own_trial(self, trial_id: int) -> tuple[Any, int]:
        storage, _ = self._own(trial_id // TRIALS)
        return storage, trial_id % TRIALS

    def get_all_studies(self) -> list[FrozenStudy]:
        return [study for number in self._all() if (study := self._frozen(number)) is not None]

    def _frozen(self, number: int) -> FrozenStudy | None:
        """A study under its number and its folder's name; None for one that cannot be read (the apps say why)."""
        try:
            storage, own = self._own(number)
            found = copy.copy(next(study for study in storage.get_all_studies() if study._study_id == own))
        except (KeyError, StopIteration):
            return None
        found._study_id, found.study_name = number, self.get_study_name_from_id(number)
        return found

    def get_study_name_from_id(self, study_id: int) -> str:
        return name_of(self.root, self._all()[study_id])

    def get_study_id_from_name(self, study_name: str) -> int:
        return {self.get_study_name_from_id(number): number for number in self._all()}[study_name]

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        storage, own = self._own(study_id)
        return storage.get_study_directions(own)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        storage, own = self._own(study_id)
        return storage.get_study_user_attrs(own)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        storage, own = self._own(study_id)
        return storage.get_study_system_attrs(own)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        storage, own = self._own(study_id)
        trials = storage.get_all_trials(own, deepcopy=deepcopy, states=states)
        return [_renumbered(trial, study_id) for trial in trials]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        storage, own = self._own_trial(trial_id)
        return _renumbered(storage.get_trial(own), trial_id // TRIALS)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        storage, own = self._own(study_id)
        return _renumbered(storage.get_best_trial(own), study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        storage, own = self._own(study_id)
        storage.set_study_user_attr(own, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        storage, own = self._own(study_id)
        storage.set_study_system_attr(own, key, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        storage, own = self._own_trial(trial_id)
        storage.set_trial_user_attr(own, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        storage, own = self._own_trial(trial_id)
        storage.set_trial_system_attr(own, key, value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        storage, own = self._own_trial(trial_id)
        return storage.set_trial_state_values(own, state, values)

    def delete_study(self, study_id: int) -> None:
        storage, own = self._own(study_id)
        storage.delete_study(own)

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        _not_here()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        _not_here()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        _not_here()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        _not_here()


def _renumbered(trial: FrozenTrial, study: int) -> FrozenTrial:
    renumbered = copy.copy(trial)
    renumbered._trial_id = study * TRIALS + trial._trial_id
    return renumbered


def _not_here() -> NoReturn:
    """No request comes here: `milbench.dashboard` refuses those that would make a study, in words; see tests/security."""
    raise NotImplementedError("studies and trials are made by runs, not in the dashboard")

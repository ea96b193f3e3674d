"""The study that the review tests read."""

from pathlib import Path

import pytest
from reviewed import make_study

from milbench.review.study import StudyView, read_study


@pytest.fixture(scope="session")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study with complete and pruned trials; tests read it only."""
    return make_study(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="session")
def view(study_dir: Path) -> StudyView:
    """That study, read."""
    return read_study(study_dir)

"""The cluster on which the tests of this folder run."""

from collections.abc import Iterator

import pytest
from slurm_node import SlurmNode, missing_programs, slurm_node


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmNode]:
    """A SLURM of one node; this process and what it starts talk to it."""
    missing = missing_programs()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm munge")
    with slurm_node() as node, pytest.MonkeyPatch.context() as patch:
        for name, value in node.environment.items():
            patch.setenv(name, value)
        yield node

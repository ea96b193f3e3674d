"""`import milbench` is quick and loads nothing heavy."""

import subprocess
import sys

import pytest

import milbench
from milbench import models, training

HEAVY = ("torch", "lightning", "pandas", "sklearn", "optuna", "rdkit", "pyarrow")


def _fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_milbench_loads_nothing_heavy() -> None:
    assert _fresh(f"import sys, milbench; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_naming_the_tasks_and_hyperparameters_loads_no_torch() -> None:
    code = "import sys, milbench; milbench.EUOS25, milbench.HPOConfig, milbench.search_space; print('torch' in sys.modules)"
    assert _fresh(code) == "False"


@pytest.mark.parametrize("module", ["data.composition", "data.manifest"])
def test_what_an_app_shows_first_is_read_without_torch(module: str) -> None:
    assert _fresh(f"import sys, milbench.{module}; print('torch' in sys.modules)") == "False"


def test_importing_milbench_takes_under_three_tenths_of_a_second() -> None:
    code = "import time; start = time.perf_counter(); import milbench; print(time.perf_counter() - start)"
    best = min(float(_fresh(code)) for _ in range(3))
    assert best < 0.3


def test_the_command_line_shows_its_help_without_torch() -> None:
    code = (
        "import sys\nfrom milbench.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    )
    assert _fresh(code).splitlines()[-1] == "False"


SEED = """
MILTaskAttnMixerWithAux TaskAttentionPool MultiTaskFocal reg_loss_weighted MultitaskBalancedBatchSampler HPOConfig
BackboneConfig HeadConfig OptimizationConfig RuntimeConfig SamplerConfig LossWeightingConfig ObjectiveConfig MILModelConfig
MILBackboneConfig MILPredictorConfig MILOptimizationConfig MILLossConfig MILModelBuilder PipelineConfigFactory
PipelineEnvironmentFactory HPODataBuilder PreparedHPOData MILCVData MILPipelineOrchestrator MILCrossValidator MILFoldTrainer
MILStudyRunner MILFinalData MILFinalTrainer CVRunConfig FinalTrainConfig LightningTrainerFactory ModelEvaluator search_space
build_2d_embedder build_3d_embedder build_aggregator build_predictor_heads register_2d_embedder register_3d_embedder
register_aggregator register_predictor
"""
"""Every name that the specification promises."""


@pytest.mark.parametrize("name", SEED.split())
def test_what_the_seed_names_is_imported_from_one_of_the_three_packages(name: str) -> None:
    homes = [package for package in (milbench, training, models) if name in package.__all__]
    assert homes
    assert {getattr(package, name).__name__ for package in homes} == {name}


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error() -> None:
    for package in (milbench, training, models):
        assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError):
        milbench.nothing_of_this_name  # noqa: B018

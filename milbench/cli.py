"""The command line: `milbench COMMAND`. Flags are read off dataclasses; what is heavy is imported when needed."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from milbench.baselines.commands import run_baseline, run_conformers
from milbench.baselines.config import BaselineConfig, ConformersConfig
from milbench.data_commands import (
    DoctorConfig,
    FoldsConfig,
    ImportConfig,
    Said,
    SubmitConfig,
    run_doctor,
    run_folds,
    run_import,
    run_submit,
)
from milbench.errors import MilbenchError
from milbench.flags import OptionalCount, gathered
from milbench.jobs_commands import JobsConfig, run_jobs, sent, spelled, start_of, started
from milbench.predict_config import PredictConfig
from milbench.prepare_config import PrepareConfig
from milbench.proxy import ProxyConfig, run_proxy
from milbench.run_config import CostConfig, HpoConfig, PipelineConfig
from milbench.runlog import as_job, describe_job, is_job, log_to_console
from milbench.score_command import ScoreConfig, run_score
from milbench.serve import LabConfig, ServeConfig, run_lab, run_serve
from milbench.steps import RecipeConfig, run_recipe
from milbench.version import __version__
from milbench.workers import is_worker, with_parent

EXTRAS = {
    **{"rdkit": "chem", "psycopg": "postgresql", "grpc": "grpc", "lightgbm": "baselines"},
    **dict.fromkeys(("marimo", "uvicorn", "a2wsgi", "optuna_dashboard", "jupyterlab"), "apps"),
}
"""What is installed on request only, and the extra that brings it."""
ABOUT = "Multi-task MIL on molecules and their conformers."


@dataclass(frozen=True)
class DemoConfig:
    """The whole way on 600 real molecules with simulated endpoints: data, study, final model, attention."""

    out: Path = Path("runs/demo")
    """Folder of everything that the demo writes; run again, it goes on where it stopped."""
    molecules: int = 600
    """How many molecules to draw."""
    trials: int = 3
    """Trials of the study."""
    seed: int = 0
    """Seed of everything random."""
    workers: OptionalCount = None
    """Processes that make conformers; default: one a core."""


@dataclass(frozen=True)
class ParamsConfig:
    """List every hyperparameter: default, search range, meaning."""

    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints."""


def _run(config: PipelineConfig) -> Said:
    from milbench.pipeline import MILPipelineOrchestrator
    from milbench.report import final_lines

    return final_lines(MILPipelineOrchestrator(config).run(), config.study_dir), 0


def _hpo(config: HpoConfig) -> Said:
    from milbench.pipeline import MILPipelineOrchestrator
    from milbench.report import study_lines

    if not is_worker():
        return study_lines(MILPipelineOrchestrator(config).search(), config.study_dir), 0
    with with_parent():
        MILPipelineOrchestrator(config).work()
    return [], 0


def _cost(config: CostConfig) -> Said:
    from milbench.cost import run_cost

    return run_cost(config), 0


def _demo(config: DemoConfig) -> Said:
    from milbench.demo import run_demo

    return run_demo(config.out, config.molecules, config.trials, config.seed, config.workers), 0


def _params(config: ParamsConfig) -> Said:
    from milbench.report import parameter_lines

    return parameter_lines(config.tasks), 0


def _prepare(config: PrepareConfig) -> Said:
    from milbench.chem.prepare import prepare

    return prepare(config), 0


def _predict(config: PredictConfig) -> Said:
    from milbench.predict import predict

    return predict(config), 0


COMMANDS: dict[str, tuple[type, Callable[[Any], Said]]] = {
    "run": (PipelineConfig, _run),
    "hpo": (HpoConfig, _hpo),
    "cost": (CostConfig, _cost),
    "demo": (DemoConfig, _demo),
    "baseline": (BaselineConfig, run_baseline),
    "conformers": (ConformersConfig, run_conformers),
    "recipe": (RecipeConfig, run_recipe),
    "params": (ParamsConfig, _params),
    "prepare": (PrepareConfig, _prepare),
    "predict": (PredictConfig, _predict),
    "doctor": (DoctorConfig, run_doctor),
    "folds": (FoldsConfig, run_folds),
    "import": (ImportConfig, run_import),
    "submit": (SubmitConfig, run_submit),
    "score": (ScoreConfig, run_score),
    "serve": (ServeConfig, run_serve),
    "lab": (LabConfig, run_lab),
    "jobs": (JobsConfig, run_jobs),
    "proxy": (ProxyConfig, run_proxy),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status: 0 done, 2 bad input (one line on standard error), 1 anything else.

    `milbench doctor` ends with 1 where it warns and 2 where it found an error.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads: a waiting thread soon leaves its core to others
    given = list(sys.argv[1:] if args is None else args)
    status = 0
    try:
        with as_job():
            status = _obeyed(given)
        sys.stdout.flush()
    except MilbenchError as error:
        if not is_job():  # its log has the line already
            sys.stderr.write(f"milbench: {error}\n")
        return error.status
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(str(error.name).split(".")[0])
        if extra is None:
            raise
        sys.stderr.write(f"milbench: this needs {error.name}; install it with: pip install 'milbench[{extra}]'\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("milbench: stopped; run the same command again to go on\n")
        return 1
    except BrokenPipeError:  # the reader went away (`| head`); what Python flushes at its end must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _obeyed(given: list[str]) -> int:
    """Parse and run one command, print its lines; gives its exit status."""
    if given in (["--version"], ["-V"]):
        sys.stdout.write(f"milbench {__version__}\n")
        return 0
    config = start_of(given) or tyro.cli(_command_type(), args=spelled(gathered(given)), prog="milbench", description=ABOUT)
    log_to_console()
    describe_job(config)
    name, work = next((name, work) for name, (kind, work) in COMMANDS.items() if type(config) is kind)
    job = sent(name, config, given)
    lines, status = work(config) if job is None else (started(job), 0)
    sys.stdout.write("\n".join(lines) + "\n")
    return status


def _command_type() -> Any:
    """The sub-commands as the union that tyro parses."""
    return Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, (kind, _) in COMMANDS.items())]  # noqa: UP007


if __name__ == "__main__":
    sys.exit(main())

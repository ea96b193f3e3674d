"""The command line: `milbench run | demo | params`. Flags are read off dataclasses; what is heavy is imported when needed."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from milbench.errors import MilbenchError
from milbench.run_config import PipelineConfig, gathered
from milbench.runlog import log_to_console
from milbench.version import __version__

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
    workers: int | None = None
    """Processes that make conformers; default: one a core."""


@dataclass(frozen=True)
class ParamsConfig:
    """List every hyperparameter: default, search range, meaning."""

    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints."""


Command = (
    Annotated[PipelineConfig, tyro.conf.subcommand("run")]
    | Annotated[DemoConfig, tyro.conf.subcommand("demo")]
    | Annotated[ParamsConfig, tyro.conf.subcommand("params")]
)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status: 0 done, 2 bad input (one line on standard error), 1 anything else."""
    given = gathered(sys.argv[1:] if args is None else args)
    try:
        if given in (["--version"], ["-V"]):
            sys.stdout.write(f"milbench {__version__}\n")
        else:
            command = tyro.cli(Command, args=given, prog="milbench", description=ABOUT)  # type: ignore[arg-type,call-overload]
            log_to_console()
            _dispatch(command)
        sys.stdout.flush()
    except MilbenchError as error:
        sys.stderr.write(f"milbench: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("milbench: stopped; run the same command again to go on\n")
        return 1
    except BrokenPipeError:  # the reader went away (`| head`); what Python flushes at its end must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _dispatch(command: PipelineConfig | DemoConfig | ParamsConfig) -> None:
    if isinstance(command, PipelineConfig):
        from milbench.pipeline import MILPipelineOrchestrator
        from milbench.report import final_lines

        report = MILPipelineOrchestrator(command).run()
        sys.stdout.write("\n".join(final_lines(report, command.study_dir)) + "\n")
    elif isinstance(command, DemoConfig):
        from milbench.demo import run_demo

        report = run_demo(command.out, command.molecules, command.trials, command.seed, command.workers)
        sys.stdout.write("\n".join(report) + "\n")
    else:
        from milbench.report import parameter_lines

        sys.stdout.write("\n".join(parameter_lines(command.tasks)) + "\n")


if __name__ == "__main__":
    sys.exit(main())

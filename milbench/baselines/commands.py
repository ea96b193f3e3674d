"""`milbench baseline` and `milbench conformers`: doing what they are asked to."""

from milbench.baselines.config import BaselineConfig, ConformersConfig


def run_baseline(config: BaselineConfig) -> tuple[list[str], int]:
    """Run the methods, write their report; (lines to print, exit status)."""
    from milbench.baselines.report import Report
    from milbench.baselines.runner import run_methods

    report = Report(run_methods(config), config.out / ".cache")
    written = report.write(config.out, "baselines")
    return [*report.lines(), "", *(f"written: {path}" for path in written)], 0


def run_conformers(config: ConformersConfig) -> tuple[list[str], int]:
    """Run the networks, write the one figure; (lines to print, exit status)."""
    from milbench.baselines.report import Report
    from milbench.baselines.runner import run_methods

    report = Report(run_methods(config), config.out / ".cache")
    written = report.write_answer(config.out, "conformers")
    return [*report.lines(), "", *(f"written: {path}" for path in written)], 0

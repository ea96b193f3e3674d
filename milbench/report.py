"""What a run says at its end, as lines of plain text."""

from collections import Counter
from pathlib import Path
from typing import Any

from milbench.configs import parameters
from milbench.run_config import FINAL_FOLDER
from milbench.tasks import load_tasks


def number(value: float | None) -> str:
    """Three decimals, or – where there is none."""
    return "–" if value is None or value != value else f"{value:.3f}"


def metrics_lines(metrics: dict[str, Any]) -> list[str]:
    """Per-task AP and ROC-AUC with the prevalence beside them; `metrics` as `Metrics.to_dict` gives it."""
    width = max(len(name) for name in metrics["tasks"])
    lines = [f"  {'endpoint':<{width}}  {'AP':>6}  {'prevalence':>10}  {'ROC-AUC':>7}  {'molecules':>9}"]
    for name, m in metrics["tasks"].items():
        cells = f"{number(m['ap']):>6}  {number(m['prevalence']):>10}  {number(m['auc']):>7}  {m['n']:>9}"
        lines.append(f"  {name:<{width}}  {cells}")
    summary = f"macro AP {number(metrics['macro_ap'])}, worst AP {number(metrics['min_ap'])}"
    return [*lines, f"  {summary}, macro ROC-AUC {number(metrics['macro_auc'])}"]


def openings(report: dict[str, Any]) -> str:
    """In words that the leaderboard has been looked at before, "" the first time; `report` as leaderboard_eval.json."""
    count = report.get("opened") or 1
    return (
        "" if count < 2 else f" (it was opened for {count} models of this study folder: a choice among them is no longer blind)"
    )


def final_lines(report: dict[str, Any], study_dir: Path) -> list[str]:
    """The final model's scores and where everything lies; `report` is the content of leaderboard_eval.json."""
    best = [f"best epoch {one['best_epoch'] + 1} of {one['epochs']}" for one in report["members"]]
    trained = best[0] if len(best) == 1 else f"mean of {len(best)} models, each on what monitored it"
    lines = ["", f"Monitored ({report['monitor']}), {trained}:"]
    lines += metrics_lines(report["monitored"])
    if report["leaderboard"] is not None:
        lines += ["", f"Leaderboard, reported once:{openings(report)}", *metrics_lines(report["leaderboard"])]
    if report["note"]:
        lines.append(f"  Note: {report['note']}.")
    lines += [
        "",
        f"Study and parameters: {study_dir}",
        f"Final model:          {study_dir / FINAL_FOLDER} (model_card.md says more)",
    ]
    if report["attention"]:
        lines.append(f"Attention:            {report['attention']}")
    return lines


def study_lines(study: Any, study_dir: Path) -> list[str]:
    """A study's outcome, its best parameters and what comes next."""
    from milbench.trial_tables import state_word

    states = Counter(state_word(trial) for trial in study.get_trials(deepcopy=False))
    counts = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    best = study.best_trial
    params = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in best.params.items()}
    return [
        "",
        f"Trials: {counts}",
        f"Best:   trial {best.number}, score {number(best.value)}, macro AP {number(best.user_attrs.get('macro_ap'))}",
        f"        {', '.join(f'{name}={value}' for name, value in params.items())}",
        "",
        f"Study and parameters: {study_dir}",
        "Next, the final model: the same data flags with",
        f"  milbench run --study_dir {study_dir} ...",
    ]


def parameter_lines(tasks: str) -> list[str]:
    """Every hyperparameter with default, search range and meaning."""
    known = parameters(load_tasks(tasks)).values()
    width = max(len(param.name) for param in known)
    head = f"{'name':<{width}}  {'default':>14}  {'searched':<32}  meaning"
    rows = []
    for param in known:
        default = "–" if param.default is None else f"{param.default:g}" if isinstance(param.default, float) else param.default
        searched = param.range_text if param.is_searched else "–"
        rows.append(f"{param.name:<{width}}  {default!s:>14}  {searched:<32}  {param.help}")
    return [head, *rows]

"""A study to be as controls: its budget, and a range slider or a choice for every searched parameter."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import marimo as mo

from milbench import ui
from milbench.cost import read_cost
from milbench.errors import DataError
from milbench.launch import GROUPS, BatchPreview, LaunchPlan, chosen_in, searched, steps_of
from milbench.machine import gpus
from milbench.number_ui import Number
from milbench.params import Param
from milbench.plural import plural
from milbench.tasks import TaskSet

NUMBERS = {
    "trials": Number("Trials", 1, 100_000),
    "workers": Number("Workers", 1, 64),
    "folds": Number("Folds", 2, 20),
    "max_epochs": Number("Epochs, at most", 1, 10_000),
    "patience": Number("Patience, epochs", 1, 10_000),
    "min_w": Number("Weight of the worst AP", 0.1, 0.6, 0.05),
}
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def budget_controls(own_folds: int) -> Any:
    """What a study may cost and how it runs, by flag, as the URL has it; else the command's defaults.

    A store with folds of its own leaves their number no choice.
    """
    asked = {flag: number for flag, number in NUMBERS.items() if flag != "folds" or not own_folds}
    numbers = {flag: number.field(flag, getattr(LaunchPlan, flag)) for flag, number in asked.items()}
    devices = ["auto", "cpu", *(["gpu"] if gpus() else [])]
    choices = {"nn_accelerator": ("Device", devices), "precision": ("Precision", PRECISIONS)}
    return mo.ui.dictionary(numbers | {flag: ui.picker(flag, names, label) for flag, (label, names) in choices.items()})


def budget_layout(budget: Any, own_folds: int) -> list[mo.Html]:
    """The controls in rows of three, what is wrong with a number below it, and whose the folds are."""
    knobs = [NUMBERS[flag].beside(control) if flag in NUMBERS else control for flag, control in budget.elements.items()]
    lines = [mo.hstack(knobs[k : k + 3], justify="start", align="start", gap=1.5, wrap=True) for k in range(0, len(knobs), 3)]
    said = [ui.dim(f"Folds: the store brings its own {own_folds}.")] if own_folds else []
    return [*lines, *said]


def budget_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The controls' values as a plan takes them; a number that will not do is a ConfigError."""
    return {flag: NUMBERS[flag].read(value) if flag in NUMBERS else value for flag, value in values.items()}


def search_controls(tasks: TaskSet, texts: Mapping[str, str]) -> Any:
    """A control for every searched parameter, as `texts` (NAME to its value or range) have it."""
    return mo.ui.dictionary({param.name: _control(param, texts) for group in searched(tasks).values() for param in group})


def _control(param: Param, texts: Mapping[str, str]) -> Any:
    value = chosen_in(param, texts)
    if param.choices:
        options = {str(choice): choice for choice in param.choices}
        return mo.ui.multiselect(options=options, value=[str(choice) for choice in value], label=param.name)
    return mo.ui.range_slider(steps=steps_of(param), value=value, show_value=True, label=param.name, full_width=True)


def search_layout(controls: Any, tasks: TaskSet, changed: Mapping[str, str]) -> mo.Html:
    """The controls in an accordion, a table a group; `changed` parameters are marked with what they became."""
    return mo.accordion(
        {
            f"{GROUPS[group]} ({len(params)}{_changes(params, changed)})": mo.vstack(
                [_row(param, controls[param.name], changed) for param in params], gap=0.1
            )
            for group, params in searched(tasks).items()
            if params
        },
        multiple=True,
    )


def preview_words(shown: BatchPreview) -> str:
    """An epoch's batches in a sentence or two, Markdown. A batch larger than the fold's molecules holds them several times."""
    rare, size, positives = shown.rarest, shown.batch_size, int(shown.summary["positives"].to_numpy().min())
    words = (
        f"An epoch of a fold is **{plural(len(shown.batches), 'batch', 'batches')} of {size}** "
        f"from {plural(shown.molecules, 'molecule')}. {rare['endpoint']}, the rarest, has "
        f"{plural(positives, 'positive')}: **{rare['mean']:.1f} of the {size} places in a batch** "
        f"(plain shuffling: {rare['shuffled']:.2f}), each drawn {rare['repeats']:.1f} times an epoch."
    )
    if size <= shown.molecules:
        return words
    few = f"There are fewer molecules than places, so a batch holds each {size / shown.molecules:.1f} times on average"
    return f"{words} {few}: a smaller `batch_size` would fit them better."


def cost_layout(plan: LaunchPlan, folder: Path) -> mo.Html:
    """What the plan will cost, once an epoch of it has been timed in `folder`; before that, what timing does."""
    state = ui.job_state(folder)
    try:
        cost = read_cost(folder)
    except DataError as error:
        return ui.problem(error)
    if state is not None and state.state != "done":
        return mo.Html(ui.progress(state))
    if cost is None:
        return ui.dim("Trains on a part of the first fold for some seconds, in a process of its own, and keeps nothing.")
    rows = [(what, f"<b>{value}</b>", of) for what, value, of in cost.rows(plan.trials, plan.max_epochs, plan.workers)]
    return mo.Html(ui.table(["", "Takes", ""], rows, ["Takes"]) + f'<p class="mb-dim">{html.escape(cost.assumption)}</p>')


def _changes(params: list[Param], changed: Mapping[str, str]) -> str:
    count = sum(param.name in changed for param in params)
    return f", {count} changed" if count else ""


def _row(param: Param, control: Any, changed: Mapping[str, str]) -> mo.Html:
    said = f"<b>{html.escape(changed[param.name])}</b>" if param.name in changed else html.escape(param.range_text)
    words = f'<span class="mb-dim">{html.escape(param.help)}</span><br>{said}'
    return mo.hstack([control, mo.Html(words)], widths=[1.1, 1], align="center", gap=1.5)

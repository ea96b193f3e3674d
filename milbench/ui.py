"""The frame that all apps share: header and navigation, the workspace, state in the URL, pickers, empty states, live updates.

How an app is written (`apps/home.py` is the example) and tested:

- `with app.setup(hide_code=True)` holds imports; cells are named, hidden, one idea each; logic and figures live in the library.
- The first cell is `ui.header("home")`. State lives in the URL: build a control with `value=ui.param("trial", "0")`, and write
  it back in a cell of its own with `ui.remember(trial=trial.value)`; what `ui.param` reads is no dependency, so nothing loops.
- Live: `ui.ticker("2s", beats)` asks every few seconds; a cell that reads `beat()` (`beat = ui.beat(beats)` in a cell before)
  calls `ui.notice(seen, see, *paths)` or `ui.update(seen, see, value)`, and cells that read `seen()` run again only when one
  of those files, or the value, has changed (`seen, see = mo.state(...)` in a cell before).
- Jobs: `ui.attempt(lambda: submit(...))` shows our own errors in place; `ui.progress(state)` is a job at a glance.
- Nothing there yet: `mo.stop(not studies, ui.empty("No study yet", "Launch one.", "hpo_launch"))`.
- As a script (`python apps/home.py`) an app prints its numbers: `ui.say(lines)` is silent in the browser.
- Tests: `tests/apps/` runs every named cell alone (`cell.run`), every app as a script (`app.run()`), and in Chromium through
  the `workbench` and `page` fixtures of `tests/apps/conftest.py`: a console error or a failed request fails the test.
"""

import html
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

import marimo as mo
import pandas as pd
import plotly.io as pio
from plotly.graph_objects import Figure

from milbench.address import APPS, CARRIED, NAVIGATION
from milbench.data.recent import signature
from milbench.errors import MilbenchError
from milbench.figures.page import camera, shown
from milbench.jobs import JOB, JobState, log_tail, state_of
from milbench.palette import STATES
from milbench.workspace import ROOT_VARIABLE, WRITABLE_VARIABLE, name_of

STATE_VARIABLE = "MILBENCH_STATE"
"""The state of an app that runs as a script: MILBENCH_STATE='study=demo/study' python apps/study_review.py"""
Made = TypeVar("Made")


_STYLE = """<style>
[data-testid=notebook-actions-dropdown]{display:none}
#App .xl\\:px-24{padding-left:2.5rem;padding-right:2.5rem}
#App .sm\\:pt-8{padding-top:.8rem}
.mb-nav{display:flex;flex-wrap:wrap;gap:.15rem .3rem;align-items:center;border-bottom:1px solid #8885;padding:.2rem 0 .5rem;
 margin-bottom:.7rem;font-weight:500}
.mb-nav b{font-weight:700;letter-spacing:.02em;margin-right:.8rem}
.mb-nav a{color:inherit;text-decoration:none;padding:.2rem .65rem;border-radius:.45rem}
.mb-nav a:hover,.mb-nav a:focus-visible{background:#8883;outline:none}
.mb-nav a:focus-visible{box-shadow:0 0 0 2px #56B4E9}
.mb-nav a[aria-current]{background:#0072B2;color:#fff}
.mb-nav .mb-more{margin-left:auto}
.mb-head h1{font-weight:700;font-size:1.6rem;line-height:1.25;margin:0}
.mb-head p{margin:.15rem 0 0;color:#7A828C}
.mb-section{font-weight:700;font-size:1.15rem;line-height:1.3;margin:.9rem 0 .3rem}
.mb-table{border-collapse:collapse;width:100%;font-size:.95rem;line-height:1.45}
.mb-table th{text-align:left;font-weight:600;color:#7A828C;border-bottom:1px solid #8886;padding:.3rem 1rem .3rem 0}
.mb-table td{border-bottom:1px solid #8883;padding:.35rem 1rem .35rem 0;vertical-align:middle}
.mb-table td.mb-n,.mb-table th.mb-n{text-align:right;font-variant-numeric:tabular-nums}
.mb-table a{color:#2b8fd0;text-decoration:underline;text-underline-offset:.15em}
.mb-tag{display:inline-block;border-radius:1rem;padding:0 .6rem;font-size:.85rem;line-height:1.5;border:1.5px solid;
 white-space:nowrap}
.mb-bar{display:inline-block;vertical-align:middle;width:9rem;height:.55rem;border-radius:.3rem;background:#8884;overflow:hidden}
.mb-bar i{display:block;height:100%;background:#0072B2}
.mb-dim{color:#7A828C}
.mb-log{font:.8rem/1.5 ui-monospace,monospace;background:#8882;border-radius:.4rem;padding:.5rem .8rem;margin:0;
 overflow-x:auto;max-height:16rem;white-space:pre-wrap}
</style>"""
_LINK = (
    "color:#2b8fd0;text-decoration:underline;text-underline-offset:.15em"  # also inside of callouts, which styles do not reach
)


pio.renderers.default = "browser"


def _settings(name: str) -> dict[str, Any]:
    """Plotly's settings here: the camera, and clips that are named without the page's address.

    Plotly puts that before them where a page has a base, as marimo's have, and the address changes with every choice: at the
    next redraw bars ran out of their axes.
    """
    return {**camera(name), "_baseUrl": ""}


pio.renderers["browser"].config = _settings("milbench")  # of every figure that is shown without `plot`


def root() -> Path:
    """The workspace: the folder that `milbench serve` was given, else runs/ here."""
    return Path(os.environ.get(ROOT_VARIABLE, "runs"))


def address() -> dict[str, str]:
    """What the URL says (the last, where it says it twice); a script's address is in MILBENCH_STATE."""
    given = mo.query_params().to_dict() if mo.running_in_notebook() else parse_qs(os.environ.get(STATE_VARIABLE, ""))
    return {name: str(value[-1] if isinstance(value, list) else value) for name, value in given.items() if value}


def param(name: str, default: str = "") -> str:
    """What the URL says for `name`."""
    return address().get(name) or default


def remember(**values: object) -> None:
    """Write what is chosen into the URL; None and '' leave it. What is there already is not written again."""
    for name, value in values.items() if mo.running_in_notebook() else ():
        text = "" if value is None else str(value)
        if text != param(name):
            mo.query_params()[name] = text or None  # type: ignore[assignment]


def moved(**owner: object) -> bool:
    """Whether the URL is of another run, part …: what was chosen within that one (a threshold) does not hold in this one."""
    return any(param(name) not in ("", str(value)) for name, value in owner.items())


def link(app: str, **params: object) -> str:
    """Address of an app with its state."""
    given = {name: str(value) for name, value in params.items() if value not in (None, "")}
    return f"/apps/{app}/" + (f"?{urlencode(given)}" if given else "")


def header(app: str, *controls: mo.Html) -> mo.Html:
    """Navigation between the apps, this one's title, and beside it `controls` such as the ticker.

    The store, study and run that are chosen stay so on the way from app to app (`milbench.address`).
    """
    carried = {name: param(name) for name in CARRIED}
    this = next(known for known in APPS if known.name == app)
    links = []
    for known in APPS:
        current = ' aria-current="page"' if known is this else ""
        where = html.escape(link(known.name, **carried, **{NAVIGATION: 1}))
        links.append(f'<a href="{where}" title="{known.about}"{current} target="_self">{known.title}</a>')
    words = "Optuna" if os.environ.get(WRITABLE_VARIABLE) else "Optuna (read-only)"
    dashboard = f'<a class="mb-more" href="/dashboard" target="_blank" title="optuna-dashboard, over all studies">{words}</a>'
    nav = f'<nav class="mb-nav" aria-label="Apps"><b>milbench</b>{"".join(links)}{dashboard}</nav>'
    head = mo.Html(f'<header class="mb-head"><h1>{this.title}</h1><p>{this.about}.</p></header>')
    return mo.vstack([mo.Html(_STYLE + nav), mo.hstack([head, *controls], justify="space-between", align="end")], gap=0.2)


def section(title: str) -> str:
    """A heading, HTML."""
    return f'<h2 class="mb-section">{html.escape(title)}</h2>'


def below(folder: Path) -> str:
    """A folder's name in the workspace."""
    return name_of(root(), folder)


def go(words: str, app: str, **params: object) -> str:
    """A link to another app, as HTML."""
    where = html.escape(link(app, **params))
    return f'<a target="_self" style="{_LINK}" href="{where}">{html.escape(words)}</a>'


def empty(title: str, text: str, app: str | None = None, words: str = "", **params: object) -> mo.Html:
    """What is shown where nothing is yet: what is missing, and the next step as a link to `app`."""
    titles = {known.name: known.title for known in APPS}
    step = "" if app is None else f"<p>{go(words or f'Go to {titles[app]}', app, **params)}</p>"
    return mo.callout(mo.Html(f"<b>{html.escape(title)}</b><p>{html.escape(text)}</p>{step}"), kind="neutral")


def problem(error: Exception) -> mo.Html:
    """One of our own errors, in its one line."""
    return mo.callout(mo.Html(html.escape(str(error))), kind="danger")


def picker(
    name: str, options: Sequence[str] | Mapping[str, Any], label: str, within: bool = False, **more: Any
) -> mo.ui.dropdown:
    """A dropdown that begins with what the URL says for `name`, else with the first option.

    What the URL says and is not here ends the cell with just that, and links to what is. Of a choice `within` another, such as
    an endpoint of a run, the first is taken instead, and the label says so: the other may have been changed.
    """
    labels = list(options)
    chosen = param(name)
    by_value = {str(value): known for known, value in options.items()} if isinstance(options, Mapping) else {}
    start = chosen if chosen in labels else by_value.get(chosen, labels[0] if labels else None)
    if not within and start != chosen and chosen not in by_value:
        gone = not_here(name, labels, label)
        mo.stop(gone is not None, gone)
    given = dict(options) if isinstance(options, Mapping) else labels
    said = label_of(name, [*labels, *by_value], label) if within else label
    return mo.ui.dropdown(options=given, value=start, label=said, searchable=len(labels) > 8, **more)


def unknown(name: str, options: Collection[str]) -> str:
    """What the URL says for `name` and is none of `options`, in words (a script prints them); '' where all is well."""
    chosen = param(name)
    if not chosen or chosen in options:
        return ""
    say(f"{chosen} is not here")
    return f"{chosen} is not here"


def label_of(name: str, options: Collection[str], label: str) -> str:
    """A control's label, with what the URL asked it for and is not here."""
    said = unknown(name, options)
    return f"{label} ({said})" if said else label


def not_here(name: str, options: Sequence[str], label: str) -> mo.Html | None:
    """Says that what the URL names is not here, and links to up to 20 `options` that are; None where it is here."""
    said = unknown(name, options)
    if not said:
        return None
    return instead(said, label, {to: {name: to} for to in options[:20]})


def instead(said: str, label: str, options: Mapping[str, Mapping[str, object]]) -> mo.Html:
    """Says what is wrong with the URL, and links to what it could say of `label`: words to addresses."""
    where = {words: html.escape(f"?{urlencode(address)}") for words, address in options.items()}
    links = [f'<a target="_self" style="{_LINK}" href="{to}">{html.escape(words)}</a>' for words, to in where.items()]
    there = f"<p>{html.escape(label)}: {' · '.join(links)}</p>" if links else ""
    return mo.callout(mo.Html(f"<b>{html.escape(said)}</b>{there}"), kind="warn")


def ticker(every: str = "2s", beats: Mapping[str, Callable[[Any], None]] | None = None) -> mo.ui.refresh:
    """Asks for news every so often, as long as the tab is open, and tells `beats`; a choice of rates, and off.

    Keep it under a name without underscore: marimo forgets an element that only its own cell knows.
    """

    def tell(now: object) -> None:
        for see in (beats or {}).values():
            see(now)

    return mo.ui.refresh(options=["1s", "2s", "5s", "30s"], default_interval=every, label="Live", on_change=tell)


def beat(beats: dict[str, Callable[[Any], None]], name: str = "") -> Any:
    """A state that changes with each tick of the ticker that tells `beats`: the cells that read it run again.

    Make it in the cell that makes what those cells need. (One that read the ticker itself would run, and fail, after
    `mo.stop` had left it without what it needs.)
    """
    seen, beats[name] = mo.state(None)
    return seen


def update(seen: Any, see: Any, value: Any) -> None:
    """Tell the cells that read `seen()` what is new, and only where it is (a frozen dataclass, a tuple, a string)."""
    if value != seen():
        see(value)


def noticed(see: Any, *paths: Path) -> None:
    """What `notice` will compare with: said in the cell before those that read the paths, so that they are read once."""
    see(signature(*paths))


def notice(seen: Any, see: Any, *paths: Path) -> None:
    """Tell the cells that read `seen()` when one of `paths` has changed, and only then."""
    update(seen, see, signature(*paths))


def say(*lines: str) -> None:
    """Print lines where the app runs as a script; nothing in the browser, which shows them its own way."""
    if not mo.running_in_notebook():
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def tag(state: str) -> str:
    """A state as a coloured word, HTML."""
    colour = STATES.get(state.lower(), STATES["queued"])
    return f'<span class="mb-tag" style="color:{colour};border-color:{colour}">{html.escape(state.lower() or "–")}</span>'


def bar(done: int, total: int, words: str = "") -> str:
    """Progress as a bar and numbers, HTML; without a total the words alone."""
    text = f"{done:,} of {total:,}" if total else ""
    said = f'<span class="mb-dim">{html.escape(f"{text} {words}".strip())}</span>'
    if not total:
        return said
    share = min(1.0, done / total)
    label = html.escape(f"{text} {words}".strip())
    role = f'role="progressbar" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{done}" aria-label="{label}"'
    return f'<span class="mb-bar" {role}><i style="width:{share:.1%}"></i></span> {said}'


def progress(state: JobState) -> str:
    """A job at a glance, HTML: how it is, what it is at, how far."""
    words = "" if state.stage == state.state else state.stage
    if state.state in {"failed", "lost"}:
        return f"<span>{tag(state.state)} {html.escape(words)}</span>"
    if state.state == "stopped":  # why is no unit of what was done
        why = f'<span class="mb-dim">{html.escape(words)}</span>'
        return f"<span>{tag(state.state)} {bar(state.done, state.total)} {why}</span>"
    return f"<span>{tag(state.state)} {bar(state.done, state.total, words)}</span>"


def is_active(state: JobState | None) -> bool:
    """Whether a job is still going on."""
    return state is not None and state.state in {"queued", "running"}


def job_buttons(state: JobState | None, stop: Any, resume: Any) -> list[Any]:
    """The buttons that do something for a job as it is: to stop it while it goes on, to resume it where it did not end well."""
    if is_active(state):
        return [stop]
    return [resume] if state is not None and state.state != "done" else []


def job_state(folder: Path) -> JobState | None:
    """How the job of a folder is; None where there is none."""
    return state_of(folder) if (folder / JOB).is_file() else None


def attempt(action: Callable[[], object]) -> mo.Html | None:
    """Do something a button asks for; an error of ours is shown in its one line."""
    try:
        action()
    except MilbenchError as error:
        return problem(error)
    return None


def or_stop(make: Callable[[], Made], *mend: Any) -> Made:
    """What `make` makes; an error of ours ends the cell, shown in its one line above what can `mend` it."""
    try:
        return make()
    except MilbenchError as error:
        said = stack(problem(error), *mend)
    mo.stop(True, said)
    raise AssertionError("mo.stop stops")


def drawn(smiles: str | None, width: int = 200, height: int = 120) -> mo.Html:
    """A molecule's structure, on white paper so that it is read on a dark ground too; for `format_mapping` of a table."""
    from milbench.chem.molecules import draw_svg

    return mo.Html(
        f'<div style="background:#fff;border-radius:.4rem;width:{width}px">{draw_svg(smiles or "", width, height)}</div>'
    )


def stack(*parts: Any) -> mo.Html | None:
    """What there is, one below the other: HTML strings, elements, figures; None is left out, and of nothing comes nothing."""
    there = [mo.Html(f"<div>{part}</div>") if isinstance(part, str) else part for part in parts if part is not None]
    return mo.vstack(there) if there else None


def log_box(folder: Path, lines: int = 12) -> mo.Html:
    """The last lines of a job's log."""
    text = html.escape("\n".join(log_tail(folder, lines)) or "nothing yet")
    return mo.Html(f'<pre class="mb-log" tabindex="0" aria-label="Log">{text}</pre>')


def picture(svg: str, words: str) -> str:
    """A drawing on white, so that it is seen on a dark ground too, HTML; `words` say what it shows."""
    ground = "background:#fff;border-radius:.5rem;padding:.3rem;display:inline-block"
    return f'<div style="{ground}" role="img" aria-label="{html.escape(words)}">{svg}</div>'


def dim(words: str) -> mo.Html:
    """Small print; `words` are HTML."""
    return mo.Html(f'<span class="mb-dim">{words}</span>')


def plot(fig: Figure, name: str) -> mo.ui.plotly:
    """A figure whose camera saves it as <name>.png."""
    return mo.ui.plotly(fig.update_layout(dragmode="zoom"), config=_settings(f"milbench {name}"))


def grid(data: pd.DataFrame, label: str = "", **more: Any) -> mo.ui.table:
    """A large data frame as a table that is paged, searched and sorted; rows are chosen where `selection` is given."""
    plain = {"selection": None, "show_column_summaries": False, "show_data_types": False}
    return mo.ui.table(data, label=label, **plain | more)


def frame(data: pd.DataFrame, caption: str = "") -> mo.Html:
    """A small data frame as a table: floats with three decimals, numbers flush right."""
    numbers = [str(name) for name in data.columns if pd.api.types.is_numeric_dtype(data[name])]
    rows = [[html.escape(shown(value)) for value in row] for row in data.itertuples(index=False)]
    return mo.Html(table([str(name) for name in data.columns], rows, numbers, caption))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = (), caption: str = "") -> str:
    """A small table as HTML. Cells are HTML: escape what people wrote. `numbers`: columns set flush right."""
    kinds = [' class="mb-n"' if name in numbers else "" for name in columns]
    head = "".join(f'<th scope="col"{kind}>{html.escape(name)}</th>' for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>" for row in rows
    )
    told = f'<caption class="mb-dim" style="text-align:left">{html.escape(caption)}</caption>' if caption else ""
    return f'<table class="mb-table">{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], **more: Any) -> str:
    """A small table whose cells are plain text."""
    return table(columns, [[html.escape(cell) for cell in row] for row in rows], **more)

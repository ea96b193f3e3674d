# /// script
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="milbench · launch")

with app.setup(hide_code=True):
    import html

    import marimo as mo

    from milbench import launch as plans
    from milbench import ui
    from milbench.cost import cost_folder, start_timing
    from milbench.data.manifest import load_labels, store_tasks
    from milbench.errors import MilbenchError
    from milbench.figures import batches, composition, history, trial_curves
    from milbench.jobs import read_job, resume, stop, submit
    from milbench.launch import LaunchPlan, beyond, free_name, from_url, new_study_folder, preview_batches, settings_of, to_url
    from milbench.machine import machine_line
    from milbench.report import number
    from milbench.review.study import begun, score_words, shown_trials
    from milbench.search_ui import (
        budget_controls,
        budget_layout,
        budget_of,
        cost_layout,
        preview_words,
        search_controls,
        search_layout,
    )
    from milbench.trial_tables import rows
    from milbench.workspace import scan, searches, study_files


@app.cell(hide_code=True)
def header():
    tick = ui.ticker("2s", beats := {})
    ui.header("hpo_launch", tick)
    return beats, tick


@app.cell(hide_code=True)
def data():
    stores = {store.name: store for store in scan(ui.root()).stores}
    mo.stop(not stores, ui.empty("No data set yet.", "A study needs a prepared data set.", "data_prep", "Prepare one"))
    store = ui.picker("store", list(stores), "Data set")
    return store, stores


@app.cell(hide_code=True)
def controls(beats, store, stores):
    info = stores[store.value]
    tasks = store_tasks(info.folder)
    labels = ui.or_stop(lambda: load_labels(info.folder))
    name = mo.ui.text(value=ui.param("name") or free_name(ui.root(), "search"), label="Name")
    budget = budget_controls(plans.own_folds(labels))
    _start = from_url(ui.param("search"))
    _beyond = beyond(tasks, _start)
    search = search_controls(tasks, {key: value for key, value in _start.items() if key not in _beyond})
    more = mo.ui.text_area(
        value="\n".join(f"{key}={value}" for key, value in _beyond.items()),
        label="Any other parameter, one a line: NAME=VALUE pins it, NAME=LOW:HIGH or NAME=a,b searches it",
        placeholder="batch_pos_fraction=0.5\nbatch_size=32,64",
        rows=3,
        full_width=True,
    )
    estimate = mo.ui.run_button(label="Time an epoch")
    cost_beat = ui.beat(beats, "cost")
    return budget, cost_beat, estimate, info, labels, more, name, search, tasks


@app.cell(hide_code=True)
def what(budget, info, labels, name, store):
    _about = f"{info.molecules:,} molecules, {info.conformers:,} conformers, {len(info.tasks)} endpoints"
    _said = mo.Html(f'<span class="mb-dim">{_about}{", simulated" if info.simulated else ""}</span>')
    mo.vstack(
        [
            mo.Html(ui.section("1 · What to run")),
            mo.hstack([store, _said, name], justify="start", gap=1.5, align="center", wrap=True),
            *budget_layout(budget, plans.own_folds(labels)),
        ]
    )
    return


@app.cell(hide_code=True)
def plan(budget, info, more, name, search, tasks):
    study_plan, changed, costs, wrong = None, {}, {}, None
    try:
        _settings = settings_of(tasks, search.value, more.value)
        changed = dict(text.partition("=")[::2] for texts in _settings.values() for text in texts)
        costs = budget_of(budget.value)
        study_plan = LaunchPlan(info.folder, plans.study_folder(ui.root(), name.value), **costs, **_settings)
        study_plan.checked()
    except MilbenchError as error:
        wrong = plans.in_app(error)
    return changed, costs, study_plan, wrong


@app.cell(hide_code=True)
def state_in_url(changed, costs, store):
    ui.remember(store=store.value, search=to_url(changed), **costs)
    return


@app.cell(hide_code=True)
def search_space(changed, more, search, tasks):
    _head = mo.md(
        "Narrow a range, or bring both of its ends to one place to pin it. What you leave alone is searched as it is."
    )
    mo.vstack([mo.Html(ui.section("2 · What is searched")), _head, search_layout(search, tasks, changed), more])
    return


@app.cell(hide_code=True)
def preview(labels, study_plan, tasks, wrong):
    mo.stop(wrong is not None, ui.problem(wrong))
    shown = preview_batches(labels, study_plan)
    _words = mo.md(preview_words(shown))
    _pictures = [composition(shown.summary, shown.batch_size), batches(shown.batches, tasks.names)]
    mo.vstack([mo.Html(ui.section("3 · What the batches hold")), _words, mo.hstack(_pictures, widths="equal")])
    return (shown,)


@app.cell(hide_code=True)
def cost(cost_beat, estimate, study_plan, wrong):
    cost_beat()
    mo.stop(wrong is not None)
    _said = ui.attempt(lambda: start_timing(ui.root(), study_plan)) if estimate.value else None
    ui.stack(ui.section("4 · What it will cost"), estimate, _said, cost_layout(study_plan, cost_folder(ui.root(), study_plan)))
    return


@app.cell(hide_code=True)
def launch_button(study_plan, wrong):
    launch = mo.ui.run_button(label="Launch the study", kind="success", disabled=wrong is not None)
    _line = mo.md(f"```sh\n{study_plan.text}\n```") if wrong is None else ui.problem(wrong)
    mo.vstack([mo.Html(ui.section("5 · Launch")), mo.md("The same from a terminal:"), _line, launch])
    return (launch,)


@app.cell(hide_code=True)
def launched(launch, name, study_plan):
    begin = None
    if launch.value:
        begin = ui.attempt(lambda: submit(study_plan.command, new_study_folder(ui.root(), name.value)))
        ui.remember(study=name.value if begin is None else ui.param("study"))
    begin
    return (begin,)


@app.cell(hide_code=True)
def watch(beats, begin):
    _ = begin
    _found = [ui.below(folder) for folder in searches(ui.root())]
    mo.stop(not _found, ui.empty("No study yet.", "Launch one above; it goes on when you close this page."))
    watched = ui.picker("study", _found, "Study")
    stop_it, go_on = mo.ui.run_button(label="Stop"), mo.ui.run_button(label="Resume", kind="success")
    seen, see = mo.state("")
    news_beat = ui.beat(beats, "news")
    return go_on, news_beat, see, seen, stop_it, watched


@app.cell(hide_code=True)
def commands(go_on, stop_it, watched):
    folder, _said = ui.root() / watched.value, None
    ui.remember(study=watched.value)
    if stop_it.value:
        _said = ui.attempt(lambda: stop(folder, grace_s=15))
    if go_on.value:
        _said = ui.attempt(lambda: resume(folder))
    _said
    return (folder,)


@app.cell(hide_code=True)
def news(folder, news_beat, see, seen):
    news_beat()
    _files = [folder / "status.json", folder / "job.json", *study_files(folder)]
    ui.update(seen, see, f"{ui.signature(*_files)} {ui.job_state(folder)}")
    return


@app.cell(hide_code=True)
def progress(folder, go_on, seen, stop_it, watched):
    seen()
    job = ui.job_state(folder)
    _state = mo.Html(ui.progress(job) if job is not None else '<span class="mb-dim">run from a terminal</span>')
    _links = mo.Html(ui.go("Review it", "study_review", study=watched.value))
    _buttons = ui.job_buttons(job, stop_it, go_on)
    _group = next(iter(read_job(folder).ids), "") if ui.is_active(job) else ""
    _machine = machine_line(int(_group) if _group.isdigit() and job.cluster == "local" else None)
    mo.vstack(
        [
            mo.Html(ui.section("6 · Watch")),
            mo.hstack([watched, _state, *_buttons, _links], justify="start", gap=1.2, align="center"),
            mo.Html(f'<span class="mb-dim">{html.escape(_machine)}</span>'),
        ]
    )
    return


@app.cell(hide_code=True)
def live(folder, seen):
    seen()
    view = begun(folder)
    mo.stop(view is None or view.curves.empty, mo.md("No epoch yet."))
    _last = int(view.curves["trial"].max())
    _curves = trial_curves(rows(view.curves, trial=_last), view.tasks, view.n_folds)
    _best = "none complete yet" if view.best is None else f"best: trial {view.best}, {number(view.complete['value'].iloc[0])}"
    mo.vstack(
        [mo.md(f"**Trial {_last}**, epoch by epoch ({_best})"), _curves, *([] if view.best is None else [history(view.trials)])]
    )
    return (view,)


@app.cell(hide_code=True)
def trial_table(view):
    _shown = shown_trials(view, newest=True)
    ui.grid(_shown, "Trials, the newest first", page_size=8, format_mapping=score_words(_shown))
    return


@app.cell(hide_code=True)
def log(folder, seen):
    seen()
    mo.accordion({"Log": ui.log_box(folder, 30)})
    return


@app.cell(hide_code=True)
def said(shown, study_plan):
    ui.say(
        study_plan.text,
        preview_words(shown).replace("**", ""),
        *(f"{row['endpoint']}: {row['mean']:.2f} positives a batch" for row in shown.summary.to_dict("records")),
    )
    return


if __name__ == "__main__":
    app.run()

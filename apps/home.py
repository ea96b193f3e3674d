# /// script
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="milbench")

with app.setup(hide_code=True):
    import html

    import marimo as mo

    from milbench import ui
    from milbench.jobs import stop, submit
    from milbench.plural import plural
    from milbench.promote_ui import links
    from milbench.report import number
    from milbench.workspace import clock, dashboard_url, scan, study_progress, study_url


@app.cell(hide_code=True)
def header():
    tick = ui.ticker("2s")
    ui.header("home", tick)
    return (tick,)


@app.cell(hide_code=True)
def workspace():
    found, see = mo.state(scan(ui.root()))
    return found, see


@app.cell(hide_code=True)
def look_again(found, see, tick):
    tick.value
    ui.update(found, see, scan(ui.root()))
    return


@app.cell(hide_code=True)
def demo_buttons():
    start_demo = mo.ui.run_button(label="Make the demo", kind="success")
    stop_demo = mo.ui.run_button(label="Stop the demo")
    return start_demo, stop_demo


@app.cell(hide_code=True)
def demo_job(start_demo, stop_demo):
    _demo, _folder, _said = ui.root() / "demo", ui.root() / "demo" / "job", None
    if start_demo.value:
        _said = ui.attempt(lambda: submit(["demo", "--out", str(_demo)], _folder))
    if stop_demo.value:
        _said = ui.attempt(lambda: stop(_folder))
    _said
    return


@app.cell(hide_code=True)
def what_next(found, start_demo, stop_demo):
    _here, _demo = found(), ui.job_state(ui.root() / "demo" / "job")
    _running = sorted((s for s in _here.studies if s.state in {"queued", "running"}), key=lambda s: s.name)
    if ui.is_active(_demo):
        _next = mo.hstack([mo.md("The demo is being made. It goes on if you close this page."), stop_demo], justify="start")
    elif _demo is not None and _demo.state in {"stopped", "lost", "failed"}:
        _next = mo.hstack(
            [mo.md(f"The demo is not finished ({_demo.stage}). It goes on where it was."), start_demo], justify="start"
        )
    elif not _here.stores:
        _welcome = mo.md(
            "**Welcome. Nothing is here yet.** Begin with the demo: 600 real molecules, simulated endpoints, from "
            "conformers to a trained model; ten minutes or more on 2 cores. Or begin with your own molecules."
        )
        _own = mo.Html(ui.go("My own molecules", "data_prep"))
        _next = mo.callout(mo.vstack([_welcome, mo.hstack([start_demo, _own], justify="start", gap=1.5)]), kind="info")
    elif not _here.studies:
        _store = _here.stores[0].name
        _next = ui.empty("Your data are ready.", "Next, search for a good model.", "hpo_launch", "Launch a study", store=_store)
    elif not _here.finals and _running:
        _far = f"{study_progress(_running[0])}. It goes on if you close this page."
        _next = ui.empty(f"{_running[0].name} is running.", _far, "hpo_launch", "Watch it", study=_running[0].name)
    elif not _here.finals:
        _study = _here.studies[0].name
        _next = ui.empty(f"{_study} is there.", "See its trials, then train the final model.", "study_review", study=_study)
    else:
        _run, _store = _here.finals[0].name, _here.stores[0].name if _here.stores else ""
        _links = [
            *([ui.go("How good is the model?", "scoreboard", run=_run)] if _here.finals[0].study in _here.scored else []),
            ui.go("Which conformers does it look at?", "attention", run=_run),
            *(ui.go("Which hyperparameters matter?", "study_review", study=study.name) for study in _here.studies[:1]),
            ui.go("Launch another study", "hpo_launch", store=_store),
        ]
        _next = mo.Html(" &nbsp;·&nbsp; ".join(_links))
    _next
    return


@app.cell(hide_code=True)
def jobs(found):
    _here = found()
    _active = [job for job in _here.jobs if ui.is_active(job)]
    _shown = _active + [job for job in _here.jobs if not ui.is_active(job)][:3]
    _rows = [[html.escape(job.kind), html.escape(ui.below(job.folder)), ui.progress(job), clock(job.updated)] for job in _shown]
    mo.stop(not _rows)
    _older = len(_here.jobs) - len(_shown)
    _more = f'<p class="mb-dim">{plural(_older, "older job")}</p>' if _older else ""
    mo.Html(ui.section("Jobs") + ui.table(["What", "Folder", "State", "Updated"], _rows) + _more)
    return


@app.cell(hide_code=True)
def studies(found):
    _here = found()
    _rows = [
        [
            ui.go(study.name, "study_review", study=study.name),
            ui.tag(study.state)
            + (f' <span class="mb-dim">{html.escape(study.stage)}</span>' if study.stage != study.state else ""),
            ui.bar(study.finished, study.budget or 0, "" if study.budget else f"{study.finished} finished"),
            ", ".join(f"{count} {state.lower()}" for state, count in sorted(study.states.items())),
            number(study.best_value)
            + ("" if study.best_trial is None else f' <span class="mb-dim">trial {study.best_trial}</span>'),
            clock(study.updated),
            f'<a href="{dashboard_url(_here.root, study.folder)}" target="_self">in Optuna</a>'
            if study_url(study.folder)
            else "",
        ]
        for study in _here.studies
    ]
    mo.stop(not _rows)
    mo.Html(ui.section("Studies") + ui.table(["Study", "Run", "Trials done", "Trials", "Best score", "Updated", ""], _rows))
    return


@app.cell(hide_code=True)
def data_sets(found):
    _rows = [
        [
            ui.go(store.name, "data_prep", source=store.name),
            f"{store.molecules:,}",
            f"{store.conformers:,}",
            f"{store.features_2d} + {store.features_3d}",
            html.escape(", ".join(store.tasks)) + (" <b>(simulated)</b>" if store.simulated else ""),
            clock(store.made),
            ui.go("launch a study", "hpo_launch", store=store.name),
        ]
        for store in found().stores
    ]
    _columns = ["Data set", "Molecules", "Conformers", "2D + 3D features", "Endpoints", "Made", ""]
    mo.stop(not _rows)
    mo.Html(ui.section("Data sets") + ui.table(_columns, _rows, numbers=_columns[1:4]))
    return


@app.cell(hide_code=True)
def final_models(found):
    _rows = []
    for _final in found().finals:
        _scores, _split = (_final.leaderboard, "leaderboard") if _final.leaderboard else (_final.monitored, "inner fold")
        _cells = [html.escape(_final.name), _split]
        _cells += [number(_scores[name]) for name in ("macro_ap", "min_ap", "macro_auc")]
        _cells += [html.escape(_final.note), clock(_final.made)]
        _cells += [links(_final.name)]
        _rows.append(_cells)
    _columns = ["Final model", "Scored on", "Macro AP", "Worst AP", "Macro ROC-AUC", "", "Trained", ""]
    mo.stop(not _rows)
    mo.Html(ui.section("Final models") + ui.table(_columns, _rows, numbers=_columns[2:5]))
    return


@app.cell(hide_code=True)
def problems(found):
    mo.stop(not found().problems)
    mo.callout(mo.Html("<br>".join(html.escape(line) for line in found().problems)), kind="warn")
    return


@app.cell(hide_code=True)
def said(found):
    _here = found()
    ui.say(
        f"{len(_here.stores)} data sets, {len(_here.studies)} studies, {len(_here.finals)} final models",
        *(f"data set {store.name}: {store.molecules} molecules, {store.conformers} conformers" for store in _here.stores),
        *(
            f"study {study.name}: {plural(study.finished, 'trial')}, best score {number(study.best_value)}"
            for study in _here.studies
        ),
        *(f"final model {final.name}: macro AP {number(final.monitored['macro_ap'])}" for final in _here.finals),
    )
    return


if __name__ == "__main__":
    app.run()

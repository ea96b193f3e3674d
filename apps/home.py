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
    from milbench.report import number
    from milbench.workspace import ago, dashboard_url, scan


@app.cell(hide_code=True)
def header():
    tick = ui.ticker("5s")
    ui.header("home", tick)
    return (tick,)


@app.cell(hide_code=True)
def look(tick):
    tick.value
    workspace = scan(ui.root())
    return (workspace,)


@app.cell(hide_code=True)
def what_next(workspace):
    if not workspace.stores:
        _next = ui.empty(
            "Welcome. Nothing is here yet",
            "Begin with the demo (600 real molecules, simulated endpoints, a few minutes), or with your own molecules.",
            "data_prep",
            "Start",
        )
    elif not workspace.studies:
        _store = workspace.stores[0].name
        _next = ui.empty("Data are ready", "Next, search for a good model.", "hpo_launch", "Launch a study", store=_store)
    elif not workspace.finals:
        _study = workspace.studies[0].name
        _next = ui.empty("A study is there", "Look at its trials, then train the final model.", "study_review", study=_study)
    else:
        _study = workspace.finals[0].name
        _links = " · ".join(
            [
                ui.go("How good is it?", "scoreboard", run=_study),
                ui.go("Which conformers does it look at?", "attention", run=_study),
                ui.go("Which hyperparameters mattered?", "study_review", study=_study),
                ui.go("Try another study", "hpo_launch", store=workspace.stores[0].name),
            ]
        )
        _next = mo.Html(f"<p>{_links}</p>")
    _next
    return


@app.cell(hide_code=True)
def studies(workspace):
    _rows = [
        [
            ui.go(study.name, "study_review", study=study.name),
            ui.tag(study.state) + f' <span class="mb-dim">{html.escape(study.stage)}</span>',
            ui.bar(study.finished, study.budget or 0, "trials") if study.budget else f"{study.finished} trials",
            ", ".join(f"{count} {state.lower()}" for state, count in sorted(study.states.items())),
            number(study.best_value),
            "–" if study.best_trial is None else f"trial {study.best_trial}",
            ago(study.updated),
            f'<a href="{dashboard_url(workspace.root, study.folder)}" target="_self">dashboard</a>',
        ]
        for study in workspace.studies
    ]
    _columns = ["Study", "Run", "Progress", "Trials", "Best score", "Best", "Updated", ""]
    mo.stop(not _rows)
    mo.vstack([mo.md("### Studies"), mo.Html(ui.table(_columns, _rows, numbers=["Best score"]))])
    return


@app.cell(hide_code=True)
def data_sets(workspace):
    _rows = [
        [
            ui.go(store.name, "data_prep", store=store.name),
            f"{store.molecules:,}",
            f"{store.conformers:,}",
            f"{store.features_2d} + {store.features_3d}",
            html.escape(", ".join(store.tasks)),
            "simulated" if store.simulated else "",
            ago(store.made),
            ui.go("launch a study", "hpo_launch", store=store.name),
        ]
        for store in workspace.stores
    ]
    _columns = ["Data set", "Molecules", "Conformers", "Features 2D + 3D", "Endpoints", "", "Made", ""]
    mo.stop(not _rows)
    mo.vstack([mo.md("### Data sets"), mo.Html(ui.table(_columns, _rows, numbers=["Molecules", "Conformers"]))])
    return


@app.cell(hide_code=True)
def final_models(workspace):
    _rows = []
    for _final in workspace.finals:
        _scores, _split = (_final.leaderboard, "leaderboard") if _final.leaderboard else (_final.monitored, "inner fold")
        _cells = [ui.go(_final.name, "scoreboard", run=_final.name), _split]
        _cells += [number(_scores[name]) for name in ("macro_ap", "min_ap", "macro_auc")]
        _cells += [html.escape(_final.note), ago(_final.made), ui.go("attention", "attention", run=_final.name)]
        _rows.append(_cells)
    _columns = ["Final model", "Scored on", "Macro AP", "Worst AP", "Macro ROC-AUC", "", "Trained", ""]
    mo.stop(not _rows)
    mo.vstack([mo.md("### Final models"), mo.Html(ui.table(_columns, _rows, numbers=_columns[2:5]))])
    return


@app.cell(hide_code=True)
def said(workspace):
    ui.say(
        f"{len(workspace.stores)} data sets, {len(workspace.studies)} studies, {len(workspace.finals)} final models",
        *(f"data set {store.name}: {store.molecules} molecules, {store.conformers} conformers" for store in workspace.stores),
        *(f"study {study.name}: {study.finished} trials, best score {number(study.best_value)}" for study in workspace.studies),
        *(f"final model {final.name}: macro AP {number(final.monitored['macro_ap'])}" for final in workspace.finals),
    )
    return


@app.cell(hide_code=True)
def problems(workspace):
    mo.stop(not workspace.problems)
    mo.callout(mo.Html("<br>".join(html.escape(line) for line in workspace.problems)), kind="warn")
    return


if __name__ == "__main__":
    app.run()

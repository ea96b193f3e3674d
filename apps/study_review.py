# /// script
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="milbench · study")

with app.setup(hide_code=True):
    import marimo as mo

    from milbench import study_ui, ui
    from milbench.configs import parameters
    from milbench.errors import MilbenchError
    from milbench.figures import compared_curves, importance_bars, slices, study_aps
    from milbench.launch import study_folder
    from milbench.palette import INK, task_colours
    from milbench.promote_ui import PROMISE, TAB, final_name, is_trained, next_step, reports, results
    from milbench.review.importance import LEAST, importance
    from milbench.review.notes import STUDY, read_notes, write_note
    from milbench.review.promote import promotion
    from milbench.review.study import pruning_points, read_study, score_words, shown_trials
    from milbench.review.words import counts_line
    from milbench.workspace import dashboard_url, study_files, study_folders


@app.cell(hide_code=True)
def header():
    tick = ui.ticker("5s", beats := {})
    ui.header("study_review", tick)
    return beats, tick


@app.cell(hide_code=True)
def choose(beats):
    _found = [ui.below(folder) for folder in study_folders(ui.root())]
    mo.stop(not _found, ui.empty("No study yet.", "A study shows here as soon as it runs.", "hpo_launch", "Launch one"))
    study = ui.picker("study", _found, "Study")
    seen, see = mo.state("")
    chosen, choose_trials = mo.state((0,))  # changes with the choice alone: what is typed stays while trials come in
    news_beat = ui.beat(beats, "news")
    return choose_trials, chosen, news_beat, see, seen, study


@app.cell(hide_code=True)
def place(see, study):
    folder = ui.root() / study.value
    watched = lambda: [*study_files(folder), *reports(ui.root(), ui.below(folder))]  # noqa: E731
    ui.noticed(see, *watched())
    return folder, watched


@app.cell(hide_code=True)
def news(news_beat, see, seen, watched):
    news_beat()
    ui.notice(seen, see, *watched())
    return


@app.cell(hide_code=True)
def view(folder, seen):
    seen()
    try:
        found, _wrong = read_study(folder), None
    except MilbenchError as error:
        found, _wrong = None, ui.problem(error)
    mo.stop(found is None, _wrong)
    mo.stop(found.trials.empty, ui.empty("No trial yet.", "The study has just begun.", "hpo_launch", study=ui.below(folder)))
    return (found,)


@app.cell(hide_code=True)
def glance(folder, found, study):
    _job = ui.job_state(folder)
    _watch = ui.go("Watch, stop, resume", "hpo_launch", study=study.value)
    _scores = ui.go("Scores", "scoreboard", run=study.value)
    _state = [] if _job is None else [mo.Html(ui.progress(_job))]
    _head = [study, *_state, mo.Html(f"{_watch} &nbsp;·&nbsp; {_scores}")]
    mo.vstack(
        [
            mo.hstack(_head, justify="start", align="center", gap=1.5, wrap=True),
            mo.hstack(
                [mo.md(f"**{counts_line(found)}.**"), mo.Html(next_step(study.value, found.best))], justify="start", gap=1
            ),
            *([] if found.best is None else [study_aps(found.frozen, found.tasks)]),
        ]
    )
    return


@app.cell(hide_code=True)
def trial_table(found):
    _shown = shown_trials(found)
    _asked = [text for text in ui.param("trials").split(",") if text] or [str(found.best or 0)]
    _ticked = [place for place, trial in enumerate(_shown["trial"]) if str(trial) in _asked]
    _gone = [f"trial {text} is not here" for text in _asked if text not in {str(trial) for trial in _shown["trial"]}]
    _label = "; ".join(["Tick the trials to look at", *_gone])
    _how = {"initial_selection": _ticked, "format_mapping": score_words(_shown)}
    picked = ui.grid(_shown, _label, selection="multi", page_size=8, **_how)
    picked
    return (picked,)


@app.cell(hide_code=True)
def selection(choose_trials, chosen, found, picked):
    trials = [int(value) for value in picked.value["trial"]] or [found.best or 0]
    ui.update(chosen, choose_trials, tuple(trials))
    ui.remember(trials=",".join(map(str, trials)))
    return (trials,)


@app.cell(hide_code=True)
def parts():
    tabs = ("Folds and curves", "Parameters", "Two trials", "Optuna", "Notes", TAB)
    _tab = ui.param("tab") if ui.param("tab") in tabs else tabs[0]
    tab = mo.ui.radio(tabs, value=_tab, inline=True, label=ui.label_of("tab", tabs, "Look at"))
    tab
    return tab, tabs


@app.cell(hide_code=True)
def fold_controls(found, tab, tabs):
    ui.remember(tab=tab.value)
    mo.stop(tab.value != tabs[0])
    _columns = {"score": "score", "macro AP": "val_macro_ap", "training loss": "train_loss"}
    curve = ui.picker("curve", _columns | {name: f"ap_{name}" for name in found.tasks}, "Curve", within=True)
    metric = ui.picker("metric", {"AP": "ap", "ROC-AUC": "auc"}, "Heat map")
    mo.hstack([curve, metric], justify="start", gap=1.5)
    return curve, metric


@app.cell(hide_code=True)
def folds(curve, found, metric, trials):
    ui.remember(curve=curve.selected_key, metric=metric.selected_key)
    _lines = compared_curves(found.curves, pruning_points(found), trials, curve.value, found.n_folds)
    mo.vstack([_lines, *study_ui.fold_maps(found, trials[:4], metric.value)])
    return


@app.cell(hide_code=True)
def parameter_controls(found, tab, tabs):
    target = ui.picker(
        "target", {"score": "value"} | {name: f"ap_{name}" for name in found.tasks}, "Important for", within=True
    )
    parameter = ui.picker("parameter", sorted(found.params.columns), "Slice", within=True)
    mo.hstack([target, parameter], justify="start", gap=1.5) if tab.value == tabs[1] else None
    return parameter, target


@app.cell(hide_code=True)
def slice_figures(found, parameter, tab, tabs):
    mo.stop(tab.value != tabs[1])
    ui.remember(parameter=parameter.value)
    _points = found.complete.merge(found.params, left_on="number", right_index=True)
    _known = parameters().get(parameter.value)
    slices(_points, parameter.value, found.tasks, log=_known is not None and _known.log)
    return


@app.cell(hide_code=True)
def what_mattered(found, tab, tabs, target):
    mo.stop(tab.value != tabs[1])
    ui.remember(target=target.selected_key)
    _table = importance(found, target.value)
    mo.stop(_table.empty, mo.md(f"{len(found.complete)} complete trials; importance needs {LEAST}."))
    _words = "PED-ANOVA of the complete trials. A pale bar does not pass its grey mark: chance gives as much in one of twenty."
    _colour = {f"ap_{name}": colour for name, colour in task_colours(found.tasks).items()}.get(target.value, INK)
    mo.vstack([mo.md(_words), importance_bars(_table, _colour)])
    return


@app.cell(hide_code=True)
def two_trials(found, tab, tabs, trials):
    mo.stop(tab.value != tabs[2])
    mo.stop(len(trials) != 2, ui.empty("Tick two trials above.", "They are shown side by side, with what differs."))
    study_ui.two_trials(found, *trials)
    return


@app.cell(hide_code=True)
def optuna(folder, tab, tabs, trials):
    mo.stop(tab.value != tabs[3])
    _link = f'<a href="{dashboard_url(ui.root(), folder)}" target="_blank">Open in a tab of its own</a>'
    _frame = 'title="optuna-dashboard" style="width:100%;height:46rem;border:1px solid #8885"'
    mo.Html(f'{_link}<iframe {_frame} src="{dashboard_url(ui.root(), folder, trials[0])}"></iframe>')
    return


@app.cell(hide_code=True)
def note_about(chosen, folder, tab, tabs):
    mo.stop(tab.value != tabs[4])
    _trials = {f"trial {n}": str(n) for n in chosen()}
    about = mo.ui.dropdown({"the study": STUDY} | _trials, value="the study", label="A note on")
    about
    return (about,)


@app.cell(hide_code=True)
def note_controls(about, folder):
    note = mo.ui.text_area(read_notes(folder).get(about.value, ""), label="Note", rows=4, full_width=True)
    keep = mo.ui.run_button(label="Keep the note")
    mo.vstack([note, keep])
    return keep, note


@app.cell(hide_code=True)
def notes(about, folder, keep, note, tab, tabs):
    mo.stop(tab.value != tabs[4])
    if keep.value:
        write_note(folder, about.value, note.value)
    _cells = [[name if name == STUDY else f"trial {name}", text] for name, text in read_notes(folder).items()]
    mo.Html(ui.plain_table(["About", "Note"], _cells)) if _cells else mo.md("No note yet. An empty note drops what was there.")
    return


@app.cell(hide_code=True)
def promote_controls(beats, chosen, study, tab):
    final = mo.ui.text(value=final_name(study.value, chosen()[0]), label="Folder", full_width=True)
    promote = mo.ui.run_button(label=f"Train trial {chosen()[0]} as a final model", kind="success")
    beat = ui.beat(beats, "final")
    mo.vstack([mo.md(PROMISE.format(trial=chosen()[0])), final]) if tab.value == TAB else None
    return beat, final, promote


@app.cell(hide_code=True)
def promoted(beat, final, found, promote, tab, trials):
    beat()
    mo.stop(tab.value != TAB)
    _target, _said = ui.or_stop(lambda: study_folder(ui.root(), final.value, "Folder")), None
    if promote.value:
        _said = ui.attempt(lambda: promotion(found, trials[0], _target).start())
    _job = ui.job_state(_target)
    _done = is_trained(_target) and not ui.is_active(_job)
    _next = results(final.value) if _done else None if ui.is_active(_job) else promote
    ui.stack(_said, _next, *([] if _job is None else [ui.progress(_job), ui.log_box(_target)]))
    return


@app.cell(hide_code=True)
def said(found):
    _best = found.complete.head(5).to_dict("records")
    _lines = (f"trial {row['number']}: score {row['value']:.4f}, macro AP {row['macro_ap']:.4f}" for row in _best)
    ui.say(counts_line(found), *_lines)
    return


if __name__ == "__main__":
    app.run()

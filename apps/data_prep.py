# /// script
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="milbench · Data")

with app.setup(hide_code=True):
    import html

    import marimo as mo

    from milbench import data_ui, figures, ui
    from milbench.files import read_json
    from milbench.jobs import resume, stop, submit
    from milbench.number_ui import Number
    from milbench.preparation import STEPS, Preparation, files_below, folder_named, found_at, name_for
    from milbench.preparation_ui import fold_choice, prepare_settings
    from milbench.tasks import write_tasks
    from milbench.workspace import scan


@app.cell(hide_code=True)
def header():
    tick = ui.ticker("2s", beats := {})
    own, use_own = mo.state("")
    ui.header("data_prep", tick)
    return beats, own, tick, use_own


@app.cell(hide_code=True)
def choose(own):
    _known = [store.name for store in scan(ui.root()).stores] + [ui.below(path) for path in files_below(ui.root())]
    _chosen = ui.param("source") or ui.param("store")
    _typed = "" if _chosen in _known else _chosen
    _options = [*_known, "a path, below"] if _typed else _known
    _start = _chosen if _chosen in _known else next(iter(_options), None)
    found_box = mo.ui.dropdown(_options, value=_start, label="In the workspace", searchable=len(_options) > 8)
    path_box = mo.ui.text(value=_typed, label="or a path: table, .smi, .sdf, EUOS25 folder", full_width=True, debounce=True)
    _tasks = own() or ui.param("tasks")
    tasks_box = mo.ui.text(value=_tasks, placeholder="euos25", label="Endpoints (a .toml for your own)", debounce=True)
    id_box = mo.ui.text(value=ui.param("id_col"), placeholder="ID", label="ID column", debounce=True)
    smiles_box = mo.ui.text(value=ui.param("smiles_col"), placeholder="smiles", label="SMILES column", debounce=True)
    mo.vstack([mo.hstack([found_box, path_box], widths=[1, 2]), mo.hstack([tasks_box, id_box, smiles_box], justify="start")])
    return found_box, id_box, path_box, smiles_box, tasks_box


@app.cell(hide_code=True)
def source(found_box, path_box):
    _text = path_box.value.strip() or found_box.value
    mo.stop(not _text, ui.empty("No data yet.", "Type a path of molecules above, or make the demo.", "home", "Make the demo"))
    path = found_at(ui.root(), _text)
    _gone = "" if path.exists() else f"{_text} is not here"
    ui.say(*filter(None, [_gone]))
    mo.stop(_gone, ui.empty(_gone, "Choose another above, or type another path."))
    is_store, is_table = (path / "manifest.json").is_file(), path.suffix in {".csv", ".parquet"}
    name_box = mo.ui.text(value=ui.param("name") or name_for(path), label="Name of the new data set", debounce=True)
    return is_store, is_table, name_box, path


@app.cell(hide_code=True)
def state(found_box, id_box, is_store, name_box, path, path_box, smiles_box, tasks_box):
    _source = path_box.value.strip() or found_box.value
    _name = "" if is_store or name_box.value == name_for(path) else name_box.value
    ui.remember(source=_source, name=_name, tasks=tasks_box.value, id_col=id_box.value, smiles_col=smiles_box.value)
    return


@app.cell(hide_code=True)
def preparation(id_box, name_box, path, smiles_box, tasks_box):
    _flags = tasks_box.value, id_box.value, smiles_box.value
    plan = ui.or_stop(lambda: Preparation(folder_named(ui.root(), name_box.value), path, *_flags), name_box)
    return (plan,)


@app.cell(hide_code=True)
def jobs(beats, plan):
    imported, see_imported = mo.state({"import": ui.job_state(plan.job("import"))})  # a folder has no other cells to wake
    states, see_states = mo.state({step: ui.job_state(plan.job(step)) for step in STEPS if step != "import"})
    folded, see_folded = mo.state(plan.folded.is_file())
    beat = ui.beat(beats)
    import_button = mo.ui.run_button(label="Import these files", kind="success")
    doctor_button = mo.ui.run_button(label="Examine")
    return beat, doctor_button, folded, import_button, imported, see_folded, see_imported, see_states, states


@app.cell(hide_code=True)
def watch(beat, folded, imported, plan, see_folded, see_imported, see_states, states):
    beat()
    ui.update(imported, see_imported, {"import": ui.job_state(plan.job("import"))})
    ui.update(states, see_states, {step: ui.job_state(plan.job(step)) for step in STEPS if step != "import"})
    ui.update(folded, see_folded, plan.folded.is_file())
    return


@app.cell(hide_code=True)
def euos25(import_button, imported, is_store, path, plan):
    mo.stop(not path.is_dir() or is_store)
    _said = ui.attempt(lambda: submit(plan.import_command(), plan.job("import"))) if import_button.value else None
    _state, _go = imported()["import"], None
    if _state is not None and _state.state == "done":
        _go = ui.go("Look at the imported table", "data_prep", source=ui.below(plan.imported), name=plan.folder.name)
    _about = mo.md("A folder: if it holds the EUOS25 files as published, they become one table, with every quirk named.")
    ui.stack(_about, import_button, _said, _state and ui.progress(_state), _state and ui.log_box(plan.job("import")), _go)
    return


@app.cell(hide_code=True)
def look(is_store, path, plan):
    mo.stop(path.is_dir() and not is_store)
    from milbench.chem.look import look_at  # RDKit: only once there is something to look at

    _tasks = ui.or_stop(lambda: data_ui.endpoints(plan.tasks or "euos25"))
    seen = ui.or_stop(lambda: look_at(path, _tasks, plan.id_col or "ID", plan.smiles_col or None))
    use_them = mo.ui.run_button(label="Use them", kind="success")
    return seen, use_them


@app.cell(hide_code=True)
def own_endpoints(plan, seen, use_own, use_them):
    _file, _said = ui.root() / f"{plan.folder.name}.toml", None
    if use_them.value:
        _said = ui.attempt(lambda: use_own(str(write_tasks(_file, seen.suggested))))
    mo.stop(seen.unlabelled, ui.stack(data_ui.ask_endpoints(seen, use_them), _said) if seen.unlabelled else None)
    ready = True
    return (ready,)


@app.cell(hide_code=True)
def overview(path, seen):
    data_ui.overview(seen, path)
    return


@app.cell(hide_code=True)
def patterns(seen):
    _plots = {}
    if seen.names:
        _plots["Positive together"] = figures.label_patterns(seen.names, seen.patterns(), seen.tasks)
    if seen.sizes is not None:
        _plots["Conformers"] = figures.bag_sizes(seen.sizes)
    mo.stop(not _plots)
    mo.hstack([ui.stack(ui.section(title), plot) for title, plot in _plots.items()], widths="equal", gap=2)
    return


@app.cell(hide_code=True)
def molecules(seen):
    _frame = seen.molecules.assign(structure=seen.molecules["smiles"])[["structure", *seen.molecules.columns]]
    _grid = ui.grid(_frame, page_size=5, format_mapping={"structure": ui.drawn})
    mo.accordion({f"All {len(seen):,} molecules, drawn": _grid})
    return


@app.cell(hide_code=True)
def doctor(doctor_button, is_store, is_table, plan, ready, states):
    mo.stop(ready and not is_store and not is_table)
    _said = ui.attempt(lambda: submit(plan.doctor_command(), plan.job("doctor"))) if doctor_button.value else None
    _state, _shown = states()["doctor"], None
    if _state is None:
        _shown = mo.md(
            "The doctor looks for duplicates, leaks, plates that betray labels and broken columns, before you train."
        )
    elif _state.state == "done" and plan.findings.is_file():
        _found = [
            (f["severity"], f["check"], f["what"], f"{f['means']} {f['do']}") for f in read_json(plan.findings)["findings"]
        ]
        _rows = [[ui.tag(severity), *map(html.escape, rest)] for severity, *rest in _found]
        _shown = ui.table(["", "Check", "Found", "What it means, what to do"], _rows) if _rows else "<p>Nothing is odd.</p>"
    else:
        _shown = ui.progress(_state)
    ui.stack(ui.section("What is odd in the data?"), doctor_button, _said, _shown)
    return


@app.cell(hide_code=True)
def fold_controls(is_store, is_table, name_box, ready, seen):
    mo.stop(not ready or is_store or not len(seen))
    _title = ui.section("Folds and preparation" if is_table else "Preparation")
    mo.stop(not is_table, ui.stack(_title, name_box))  # folds are a column: `milbench folds` takes tables and stores
    by_box = ui.picker("by", ["stratified", "scaffold", "cluster", "plate"], "Folds by")
    folds_box, folds_button = Number("Number of folds", 2, 10).slider("folds", 5), mo.ui.run_button(label="Make folds")
    _why = mo.md("Like molecules on both sides flatter a model: *scaffold* and *cluster* say how it does on new ones.")
    _controls = mo.hstack([name_box, by_box, folds_box, folds_button], justify="start", wrap=True)
    ui.stack(_title, _why, _controls)
    return by_box, folds_box, folds_button


@app.cell(hide_code=True)
def folds(by_box, folds_box, folds_button, plan, states):
    ui.remember(by=by_box.value, folds=folds_box.value)
    _command = plan.folds_command(by_box.value, folds_box.value)
    _said = ui.attempt(lambda: submit(_command, plan.job("folds"))) if folds_button.value else None
    _state, _report = states()["folds"], None
    if _state is not None and _state.state == "done" and plan.fold_report.is_file():
        _report = data_ui.fold_table(plan.fold_report)
    ui.stack(_said, _state and ui.progress(_state), _report)
    return


@app.cell(hide_code=True)
def prepare_controls(is_store, is_table, ready, seen):
    mo.stop(not ready or is_store or not len(seen))
    settings = prepare_settings()
    prepare_button, prepare_stop = mo.ui.run_button(label="Prepare", kind="success"), mo.ui.run_button(label="Stop")
    prepare_resume = mo.ui.run_button(label="Resume")
    mo.hstack(list(settings.elements.values()), justify="start", wrap=True, gap=1.5)
    return prepare_button, prepare_resume, prepare_stop, settings


@app.cell(hide_code=True)
def prepare_folds(folded, is_store, is_table, ready, seen):
    mo.stop(not ready or is_store or not len(seen))
    with_folds = fold_choice(folded() and is_table)
    with_folds if is_table else None
    return (with_folds,)


@app.cell(hide_code=True)
def prepare(plan, prepare_button, prepare_resume, prepare_stop, settings, states, with_folds):
    _folder, _said = plan.job("prepare"), None
    if prepare_button.value:
        _said = ui.attempt(lambda: submit(plan.prepare_command(**settings.value, with_folds=with_folds.value), _folder))
    if prepare_stop.value:
        _said = ui.attempt(lambda: stop(_folder))
    if prepare_resume.value:
        _said = ui.attempt(lambda: resume(_folder))
    _state = states()["prepare"]
    _buttons = mo.hstack([prepare_button, *ui.job_buttons(_state, prepare_stop, prepare_resume)], justify="start")
    ui.stack(_buttons, _said, _state and ui.progress(_state), _state and ui.log_box(_folder))
    return


@app.cell(hide_code=True)
def next_step(is_store, path, plan, states):
    _done = states()["prepare"] is not None and states()["prepare"].state == "done"
    mo.stop(not is_store and not _done)
    _store = ui.below(path if is_store else plan.store)
    _look = "" if is_store else ui.go("look at the prepared data set", "data_prep", source=_store) + " or "
    mo.Html(f"<p><b>Next:</b> {_look}{ui.go('launch a study', 'hpo_launch', store=_store)}.</p>")
    return


if __name__ == "__main__":
    app.run()

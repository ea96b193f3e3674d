# /// script
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="milbench · Attention")

with app.setup(hide_code=True):
    import html

    import marimo as mo
    import numpy as np

    from milbench import figures, ui
    from milbench.data import attention as looks
    from milbench.data.store_view import StoreView
    from milbench.errors import MilbenchError
    from milbench.jobs import submit
    from milbench.number_ui import Number
    from milbench.workspace import name_of, scan, stores_for


@app.cell(hide_code=True)
def header():
    tick = ui.ticker("2s", beats := {})
    ui.header("attention", tick)
    return beats, tick


@app.cell(hide_code=True)
def look():
    workspace = scan(ui.root())
    _runs = looks.runs([final.study for final in workspace.finals], [study.folder for study in workspace.studies])
    studies = {name_of(ui.root(), folder): folder for folder in _runs}
    _do = "A final model writes it. Train one: launch a study, then promote its best trial."
    mo.stop(not studies, ui.empty("No attention yet", _do, "hpo_launch"))
    mo.stop(not workspace.stores, ui.empty("No data set is here", "The molecules come from a bag store.", "data_prep"))
    return studies, workspace


@app.cell(hide_code=True)
def choose_run(studies):
    run = ui.picker("run", list(studies), "Run")
    return (run,)


@app.cell(hide_code=True)
def choose_data(run, studies, workspace):
    store = ui.picker("store", stores_for(workspace, studies[run.value]), "Data set")
    part = ui.picker("part", list(looks.attention_files(studies[run.value])), "Molecules", within=True)
    return part, store


@app.cell(hide_code=True)
def read(part, run, store, studies):
    _none = ui.empty(f"No attention of {run.value} yet", "It has no leaderboard: ask for all molecules below.")
    mo.stop(part.value is None, ui.stack(mo.hstack([run, store], justify="start"), _none))
    attention = ui.or_stop(lambda: looks.read_attention(looks.attention_files(studies[run.value])[part.value]))
    view = ui.or_stop(lambda: StoreView.open(ui.root() / store.value))
    return attention, view


@app.cell(hide_code=True)
def choose_what(attention, part, run, store):
    task = ui.picker("endpoint", list(attention.names), "Endpoint", within=True)
    label = ui.picker("label", ["any", "positive", "negative", "unknown"], "Label")
    outcome = ui.picker("outcome", ["any", "TP", "FP", "FN", "TN"], "Outcome")
    threshold = Number("Positive from", 0, 1, 0.01).slider("threshold", 0.5, debounce=True)
    mo.hstack([run, store, part, task, label, outcome, threshold], justify="start", gap=1.2, wrap=True)
    return label, outcome, task, threshold


@app.cell(hide_code=True)
def known(attention, task, view):
    rows = ui.or_stop(lambda: looks.molecule_table(attention, view, task.value, 0.5))
    return (rows,)


@app.cell(hide_code=True)
def choose_molecule(label, outcome, rows, threshold):
    everyone = looks.called(rows, threshold.value)
    shown = looks.filtered(everyone, label.value, outcome.value)
    mo.stop(shown.empty, ui.empty("No molecule is like that", "Choose another label, outcome or threshold."))
    _at = shown.index[shown["ID"] == ui.param("molecule")]
    _gone = ui.unknown("molecule", set(everyone["ID"]))
    molecules = ui.grid(
        shown.rename(columns={"top_attention": "top attention"}),
        f"{f'{_gone}. ' if _gone else ''}{len(shown):,} of {len(everyone):,} molecules: choose one",
        selection="single",
        initial_selection=[] if _gone else [int(_at[0]) if len(_at) else 0],
        page_size=6,
        format_mapping={name: "{:.3f}".format for name in ("prediction", "entropy", "top attention")},
    )
    molecules
    return everyone, molecules


@app.cell(hide_code=True)
def molecule(attention, molecules, task, view):
    mo.stop(not len(molecules.value), ui.dim("Choose a molecule above."))
    row, t = molecules.value.iloc[0], attention.names.index(task.value)
    look = ui.or_stop(lambda: looks.look_at(attention, view, row["ID"]))
    return look, row, t


@app.cell(hide_code=True)
def attention_of_molecule(attention, look, row):
    from milbench.chem.molecules import draw_svg  # RDKit: only once the table is there

    heat = mo.ui.plotly(figures.attention_map(attention.names, look.conf_ids, look.attention, look.keys(attention.names)))
    _drawing = ui.picture(draw_svg(look.smiles), f"Structure of {look.id}")
    _facts = f"<b>{html.escape(look.id)}</b><br>{row['label'] or 'label unknown'}, predicted {row['prediction']:.3f}"
    _facts += f" {row['outcome']}<br>{row['conformers']} conformers, entropy {row['entropy']:.2f}"
    _text = mo.Html(f"{_drawing}<p>{_facts}</p><code>{html.escape(look.smiles)}</code>")
    mo.hstack([_text, heat], widths=[1, 3], align="center")
    return (heat,)


@app.cell(hide_code=True)
def conformer(attention, heat, look, t):
    seen, chosen = figures.clicked(heat.value, look.attention) or (t, int(look.attention[:, t].argmax()))
    endpoint = attention.names[seen]
    return chosen, endpoint, seen


@app.cell(hide_code=True)
def in_space(attention, chosen, endpoint, look, seen):
    from milbench.chem.geometry import most_attended, skeleton

    _weight = look.attention[:, seen]
    if look.positions is None:
        _views = [ui.dim("This data set keeps no coordinates: prepare molecules from SMILES to see their conformers.")]
    else:
        _bones, (_placed, _top) = skeleton(look.smiles), most_attended(look.smiles, look.positions, _weight)
        _names = [f"#{look.conf_ids[i]} {_weight[i]:.0%}" for i in _top]
        _one = figures.conformers_3d(_bones, _placed[[chosen]], [f"#{look.conf_ids[chosen]}"])
        _many = figures.conformers_3d(_bones, _placed[_top], _names, _weight[_top] / _weight[_top[0]])
        _said = f"Conformer #{look.conf_ids[chosen]}, {_weight[chosen]:.1%} of the attention of {endpoint}"
        _views = [ui.stack(f"<b>{html.escape(_said)}</b>", _one)]
        _said = f"The {len(_top)} most attended by {endpoint}, aligned, as opaque as they are attended to"
        _views.append(ui.stack(f"<b>{html.escape(_said)}</b>", _many))
    _beside = [figures.attention_beside(look.known, m, _weight, endpoint, attention.names) for m in look.measures]
    mo.vstack([mo.Html(ui.section("In space")), mo.hstack(_views, widths="equal"), mo.hstack(_beside, widths="equal")])
    return


@app.cell(hide_code=True)
def exports(attention, everyone, look):
    from milbench.chem.geometry import sdf_text

    _tags = {f"attn_{name}": [f"{v:.6f}" for v in look.attention[:, i]] for i, name in enumerate(attention.names)}
    _sdf = mo.download(
        lambda: sdf_text(look.smiles, look.positions, [f"{look.id} #{c}" for c in look.conf_ids], _tags).encode(),
        filename=f"{look.id}.sdf",
        label="Conformers with attention (SDF)",
        disabled=look.positions is None,
    )
    _words = "This endpoint's molecules (Parquet)"
    _table = mo.download(lambda: everyone.to_parquet(index=False), filename="attention.parquet", label=_words)
    delete = mo.ui.run_button(label="Take conformers away")
    mo.hstack([_sdf, _table, ui.dim("The camera above a chart saves it as PNG.")], justify="start", align="center")
    return (delete,)


@app.cell(hide_code=True)
def deletion(attention, delete, look, run, store, studies, task):
    _why = "Is attention where the evidence is? Predict again without the most attended conformers, against random order."
    _ask = [mo.Html(ui.section("Without them")), mo.hstack([delete, ui.dim(_why)], justify="start")]
    mo.stop(not delete.value, mo.vstack(_ask))
    from milbench.training.deletion import kept_deletion_curve

    try:
        with mo.status.spinner("Loading the model", remove_on_exit=True):
            _paths = studies[run.value], ui.root() / store.value
            curve = kept_deletion_curve(*_paths, look.place, task.value, ui.root() / ".cache")
    except MilbenchError as error:
        mo.stop(True, mo.vstack([*_ask, ui.problem(error)]))
    mo.vstack([*_ask, mo.md(f"**{look.id}**"), figures.deletion_curves(curve, task.value, attention.names)])
    return


@app.cell(hide_code=True)
def hits(attention, view):
    rates = looks.hit_rates(looks.hits_of(attention, view)) if view.keys == attention.names else None
    return (rates,)


@app.cell(hide_code=True)
def data_set(attention, rates, rows, task):
    _plots = [
        figures.entropy_distribution(attention.entropy, attention.names),
        figures.entropy_against_prediction(rows, task.value, attention.names),
    ]
    _said = "Over all of these molecules"
    if rates is not None:
        _plots.append(figures.hit_rate_bars(rates, attention.names))
        _said += "; right: how often the most attended conformer made the molecule positive (simulated, so known)"
        _said = ". ".join(filter(None, [_said, looks.even_note(attention)]))
    mo.vstack([mo.Html(ui.section("The whole data set")), ui.dim(f"{_said}."), mo.hstack(_plots, widths="equal")])
    return


@app.cell(hide_code=True)
def ask_all(beats, run, store, studies):
    _study = studies[run.value]
    command = looks.attention_command(_study, ui.root() / store.value)
    job, beat = ui.root() / "jobs" / f"attention-{run.value.replace('/', '-')}", ui.beat(beats)
    all_button = mo.ui.run_button(label="Attention over all molecules", disabled=looks.ALL in looks.attention_files(_study))
    return all_button, beat, command, job


@app.cell(hide_code=True)
def all_molecules(all_button, beat, command, job, run, store, studies):
    beat()
    _failed = ui.attempt(lambda: submit(command, job)) if all_button.value else None
    _state = ui.job_state(job)
    _there = looks.ALL in looks.attention_files(studies[run.value])
    _all = ui.go("look at it", "attention", run=run.value, store=store.value, part=looks.ALL)
    _now = f"It is there: {_all}." if _there else "" if _state is None else ui.progress(_state)
    _said = ui.dim(f"The training molecules too, as a job of its own. {_now}")
    mo.vstack([mo.hstack([all_button, _said], justify="start"), *([] if _failed is None else [_failed])])
    return


@app.cell(hide_code=True)
def url(label, look, outcome, part, run, store, task, threshold):
    ui.remember(run=run.value, store=store.value, part=part.value, molecule=look.id)
    ui.remember(endpoint=task.value, label=label.value, outcome=outcome.value, threshold=threshold.value)
    return


@app.cell(hide_code=True)
def said(attention, everyone, rates, row):
    _mean = np.nanmean(attention.entropy, axis=0)
    ui.say(
        f"{len(everyone):,} molecules, {len(attention.a):,} conformers",
        f"{row['ID']}: {row['prediction']:.3f} {row['outcome']}",
        *(f"{name}: mean entropy {e:.3f}" for name, e in zip(attention.names, _mean, strict=True)),
        *([] if rates is None else [f"{r.endpoint}: hit rate {r.rate:.3f}, chance {r.chance:.3f}" for r in rates.itertuples()]),
    )
    return


if __name__ == "__main__":
    app.run()

# /// script
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="milbench · Scores")

with app.setup(hide_code=True):
    import marimo as mo

    from milbench import figures, ui
    from milbench.data.curves import best_threshold, confusion
    from milbench.data.results import comparable, read_result, result_files
    from milbench.data.scoreboard import LEVEL, at_first, behind, board, compared
    from milbench.errors import MilbenchError
    from milbench.number_ui import Number
    from milbench.score_report import CAVEAT, readable, score_report, side_by_side
    from milbench.workspace import data_of, name_of, scan, stores_for


@app.cell(hide_code=True)
def header():
    ui.header("scoreboard")
    return


@app.cell(hide_code=True)
def look():
    cache = ui.root() / ".cache"
    _scored = scan(ui.root()).scored
    files = {f"{name_of(ui.root(), run)}, {part}": (run, part) for run in _scored for part in result_files(run)}
    mo.stop(
        not files,
        ui.empty("No scores yet", "A study has scores once its first trial is complete. Launch one.", "hpo_launch"),
    )
    return cache, files


@app.cell(hide_code=True)
def choose_run(files):
    _runs = list(dict.fromkeys(name_of(ui.root(), study) for study, _ in files.values()))
    run = ui.picker("run", _runs, "Run")
    return (run,)


@app.cell(hide_code=True)
def choose_part(files, run):
    _parts = [part for study, part in files.values() if name_of(ui.root(), study) == run.value]
    part = ui.picker("part", _parts, "Molecules", within=True)
    mo.hstack([run, part], justify="start", gap=2)
    return (part,)


@app.cell(hide_code=True)
def data_set(run):
    trained_on = data_of(scan(ui.root()), ui.root() / run.value)
    ui.dim(trained_on) if trained_on else None
    return (trained_on,)


@app.cell(hide_code=True)
def results(cache, files, run):
    try:
        read = {
            where: read_result(result_files(study)[where], run.value, where)
            for study, where in files.values()
            if name_of(ui.root(), study) == run.value
        }
        _first = at_first(list(read.values()), cache)
        mo.output.append(ui.frame(_first) if len(_first) else None)
        with mo.status.spinner("Intervals: a thousand bootstrap draws", remove_on_exit=True):
            scores = board(list(read.values()), cache)
        mo.output.clear()
    except MilbenchError as error:
        mo.stop(True, ui.problem(error))
    return read, scores


@app.cell(hide_code=True)
def chosen(part, read):
    result = read.get(part.value) or next(iter(read.values()))
    found = behind(result)
    return found, result


@app.cell(hide_code=True)
def url(part, run):
    moved = ui.moved(run=run.value, part=part.value)
    ui.remember(run=run.value, part=part.value)
    return (moved,)


@app.cell(hide_code=True)
def at_a_glance(scores):
    _note = (
        f"Intervals: {LEVEL:.0%}, bootstrap over molecules. Grey ticks: what chance gives. ʷ weighted by sample. "
        "Out of fold: each molecule predicted by the model that did not see it, all folds ranked together (Study: their mean); "
        "leaderboard: the final model, reported once."
    )
    _by_part = scores.assign(series=scores["part"])
    _table = readable(_by_part).rename(columns={"run": "molecules of", "molecules": "n"})
    _plots = [ui.plot(figures.score_intervals(_by_part, metric), f"scores {metric}") for metric in ("ap", "auc")]
    mo.vstack(
        [
            mo.hstack(_plots, widths="equal"),
            mo.Html(f'<p class="mb-dim">{_note}</p>'),
            ui.frame(_table),
        ]
    )
    return


@app.cell(hide_code=True)
def curves(found, result):
    _plots = {
        "precision recall": figures.pr_curves(found.cuts),
        "roc": figures.roc_curves(found.cuts),
        "calibration": figures.calibration_curves(found.calibrations),
    }
    _shown = [ui.plot(plot, f"{name} {result.title}") for name, plot in _plots.items()]
    mo.vstack([mo.Html(ui.section(f"Behind the scores: {result.title}")), mo.hstack(_shown, widths="equal")])
    return


@app.cell(hide_code=True)
def choose_endpoint(found):
    _known = [name for name, table in found.cuts.items() if len(table)]
    endpoint = ui.picker("endpoint", _known, "Endpoint", within=True)
    return (endpoint,)


@app.cell(hide_code=True)
def choose_threshold(endpoint, found, moved):
    _best = best_threshold(found.cuts[endpoint.value])
    _kept = ui.param("endpoint") == endpoint.value and not moved
    _asked = Number("Threshold", 0, 1, 0.001).asked("threshold", round(_best, 3))
    _start = _asked if _kept else round(_best, 3)
    threshold = mo.ui.slider(0, 1, 0.001, value=_start, label="Threshold", show_value=True, debounce=True, full_width=True)
    best = f"The largest F1 is at {_best:.3f}."
    return best, threshold


@app.cell(hide_code=True)
def thresholds(best, endpoint, found, result, threshold):
    _t = result.names.index(endpoint.value)
    cells = confusion(result.y[:, _t], result.p[:, _t], threshold.value)
    _called, _true = cells["tp"] + cells["fp"], cells["tp"] + cells["fn"]
    _share = lambda a, b: "–" if not b else f"{a / b:.1%}"  # noqa: E731
    _stats = [
        mo.stat(f"{cells['tp']:,}", label="true positives", caption=f"of {_true:,} positives: {_share(cells['tp'], _true)}"),
        mo.stat(f"{cells['fp']:,}", label="false positives", caption=f"precision {_share(cells['tp'], _called)}"),
        mo.stat(f"{cells['fn']:,}", label="false negatives", caption="positives below the threshold"),
        mo.stat(f"{cells['tn']:,}", label="true negatives", caption=f"{_called:,} molecules called positive"),
    ]
    _plots = {
        "predictions": figures.score_distribution(found.histograms[endpoint.value], threshold.value),
        "thresholds": figures.threshold_curves(found.cuts[endpoint.value], threshold.value),
    }
    mo.vstack(
        [
            mo.Html(ui.section("Where to cut")),
            mo.hstack([endpoint, threshold, mo.Html(f'<span class="mb-dim">{best}</span>')], widths=[1, 2, 1], align="center"),
            mo.hstack(_stats, widths="equal"),
            mo.hstack([ui.plot(plot, f"{name} {endpoint.value}") for name, plot in _plots.items()], widths="equal"),
        ]
    )
    return (cells,)


@app.cell(hide_code=True)
def url_of_more(endpoint, other, threshold):
    ui.remember(endpoint=endpoint.value, threshold=threshold.value, against=other.value if other.value != "nothing" else None)
    return


@app.cell(hide_code=True)
def choose_other(files, part, result):
    _places = {title: result_files(run)[where] for title, (run, where) in files.items() if where == part.value}
    _others = [title for title, place in _places.items() if title != result.title and comparable(place, result)]
    other = ui.picker("against", ["nothing", *_others], "Compare with", within=True)
    _store = next(iter(stores_for(scan(ui.root()), ui.root() / result.run)), None)
    _launch = ui.go("Launch one", "hpo_launch", store=_store)
    _none = f"No other run has {part.value} predictions of these molecules yet. {_launch}"
    _asked = other if _others else mo.Html(f'<p class="mb-dim">{_none}</p>')
    mo.vstack([mo.Html(ui.section("Is another run better?")), _asked])
    return (other,)


@app.cell(hide_code=True)
def comparison(cache, files, other, result):
    pair = None
    mo.stop(other.value not in files)
    try:
        _study, _part = files[other.value]
        pair = read_result(result_files(_study)[_part], name_of(ui.root(), _study), _part)
        with mo.status.spinner("Drawing the same molecules for both, a thousand times", remove_on_exit=True):
            _c = compared(pair, result, cache)
    except MilbenchError as error:
        mo.stop(True, ui.problem(error))
    _note = (
        f"{_c.n:,} molecules, drawn alike for both runs. Hollow: the interval holds zero, so the runs are not distinguishable."
    )
    _plots = {metric: figures.differences(_c.table, metric, (_c.a, _c.b), LEVEL) for metric in ("AP", "ROC-AUC")}
    mo.vstack(
        [
            mo.hstack([ui.plot(plot, f"{metric} {_c.b} against {_c.a}") for metric, plot in _plots.items()], widths="equal"),
            mo.Html(f'<p class="mb-dim">{" ".join([_note, CAVEAT, *_c.notes])}</p>'),
            ui.frame(side_by_side(_c)),
        ]
    )
    return (pair,)


@app.cell(hide_code=True)
def report(cache, files, other, read, result, trained_on):
    def _pairs():
        if other.value not in files:
            return []
        study, where = files[other.value]
        return [(read_result(result_files(study)[where], name_of(ui.root(), study), where), result)]

    download = mo.download(
        lambda: score_report(list(read.values()), _pairs(), cache, trained_on).encode(),
        filename=f"scores-{result.run.replace('/', '-')}.html",
        mimetype="text/html",
        label="Report as one HTML file",
    )
    mo.hstack(
        [download, mo.Html('<span class="mb-dim">Works without network; to mail or keep.</span>')],
        justify="start",
        align="center",
    )
    return


@app.cell(hide_code=True)
def said(cells, endpoint, scores, threshold):
    ui.say(
        *(f"{row.series}, {row.endpoint}: AP {row.ap:.3f}, ROC-AUC {row.auc:.3f}, n {row.n}" for row in scores.itertuples()),
        f"{endpoint.value} at {threshold.value:.3f}: " + ", ".join(f"{name} {count}" for name, count in cells.items()),
    )
    return


if __name__ == "__main__":
    app.run()

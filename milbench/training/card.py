"""What a final model says of itself: model.json for programs, model_card.md for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from milbench.data.bags import BagData
from milbench.report import number
from milbench.runlog import versions
from milbench.training.ensemble import Ensemble

CARD = "model_card.md"
FORMAT = 1


def about_model(
    ensemble: Ensemble, members: Sequence[str], bags: BagData, train: np.ndarray, applies: dict[str, Any] | None
) -> dict[str, Any]:
    """model.json, plain JSON types. members: their files; train: places of the training molecules; applies: `Domain.save`'s."""
    first = ensemble.members[0]
    y = bags.raw.y[train]
    known, positives = np.isfinite(y).sum(axis=0), (y == 1).sum(axis=0)
    counts = {name: {"known": int(k), "positives": int(p)} for name, k, p in zip(first.tasks.names, known, positives)}
    return {
        "format": FORMAT,
        "members": list(members),
        "tasks": first.tasks.to_dict(),
        "config": first.model.config.to_dict(),
        "params": first.info["params"],
        "recipe": first.info["recipe"],
        "features_2d": list(first.names2d),
        "features_3d": list(first.names_inst),
        "training": {
            "monitor": first.info["monitor"],
            "members": [
                {name: one.info[name] for name in ("fold", "seed", "best_epoch", "epochs")} for one in ensemble.members
            ],
            "molecules": len(train),
            "conformers": int(bags.bag_sizes[train].sum()),
            "labels": counts,
        },
        "content": bags.content,
        "provenance": bags.provenance,
        "notes": list(bags.notes),
        "applicability": applies,
        "versions": versions(),
    }


def model_card(about: dict[str, Any], report: dict[str, Any]) -> str:
    """The model card in Markdown. about: model.json; report: leaderboard_eval.json."""
    parts = [_head(about), _data(about), _scores(about, report), _use(about), _limits(about), _versions(about)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(about: dict[str, Any]) -> list[str]:
    tasks, members = about["tasks"], about["training"]["members"]
    names = ", ".join(endpoint["name"] for endpoint in tasks["endpoints"])
    what = "One model" if len(members) == 1 else f"An ensemble of {len(members)} models (the mean of their probabilities)"
    features = f"{len(about['features_2d'])} 2D descriptors and {len(about['features_3d'])} features of each conformer"
    return [
        f"# Model card: {tasks['name']}",
        "",
        f"{what} that gives each molecule a score between 0 and 1 for {names}, from {features}. "
        "Each endpoint has its own attention over the conformers.",
    ]


def _simulated(about: dict[str, Any]) -> str:
    """What the data's origin says of simulated endpoints; '' where it says nothing."""
    provenance = about["provenance"]
    return str(provenance.get("about", "")) if provenance.get("simulated") else ""


def _data(about: dict[str, Any]) -> list[str]:
    training, recipe = about["training"], about["recipe"]
    lines = ["## Data", ""]
    if _simulated(about):
        lines += [f"**The endpoints are simulated.** {_simulated(about)}", ""]
    lines += [
        f"Trained on {training['molecules']:,} molecules with {training['conformers']:,} conformers"
        f" (data hash `{about['content'][:16]}`, made by {about['provenance'].get('made_by', 'the caller')}).",
        "",
        "| endpoint | known labels | positives | prevalence |",
        "|---|---:|---:|---:|",
    ]
    for name, n in training["labels"].items():
        share = f"{100 * n['positives'] / n['known']:.3g} %" if n["known"] else "–"
        lines.append(f"| {name} | {n['known']:,} | {n['positives']:,} | {share} |")
    if recipe is None:
        lines += ["", "The features came in tables: how they were made is not known here."]
    else:
        conformers = f"{recipe['conformers']} conformers asked for (seed {recipe['seed']})"
        if recipe["own_coordinates"]:
            conformers = "conformers as the .sdf brought them"
        rdkit = f", RDKit {recipe['rdkit']}" if recipe["rdkit"] else ""
        lines += ["", f"Features: {', '.join(recipe['sets_2d'])}; of each conformer {', '.join(recipe['sets_3d'])}; "]
        lines[-1] += f"{conformers}{rdkit}."
    return [*lines, *[f"- {note}" for note in about["notes"]]]


def _scores(about: dict[str, Any], report: dict[str, Any]) -> list[str]:
    members = about["training"]["members"]
    inner = report["monitor"] == "inner"
    lines = ["## Scores", ""]
    if inner:
        what = "the inner fold that chose the epoch" if len(members) == 1 else "the inner folds that chose the members' epochs"
        lines.append(f"Training molecules held out, {what}, so slightly optimistic:")
    else:
        lines.append("The leaderboard, which chose the epoch:")
    lines += ["", *_table(report["monitored"])]
    if report["leaderboard"] is None:
        lines += ["", "No molecules were set apart for a final report."]
    else:
        said = report["note"] or "seen by no training and reported once"
        if (report.get("opened") or 1) > 1:
            said += f"; it was opened for {report['opened']} models of this study folder, so a choice among them is not blind"
        lines += ["", f"Leaderboard ({said}):", "", *_table(report["leaderboard"])]
    caveats = ["Average precision is to be read beside the prevalence, which is what guessing gives."]
    few = [name for name, n in about["training"]["labels"].items() if n["positives"] < 50]
    if few:
        caveats.append(f"Fewer than 50 training positives: {', '.join(few)}; expect their scores to vary widely.")
    if _simulated(about):
        caveats.append("The endpoints are simulated: these scores say nothing about an assay.")
    return [*lines, "", *[f"- {caveat}" for caveat in caveats]]


def _table(metrics: dict[str, Any]) -> list[str]:
    lines = ["| endpoint | AP | prevalence | ROC-AUC | molecules |", "|---|---:|---:|---:|---:|"]
    for name, m in metrics["tasks"].items():
        lines.append(f"| {name} | {number(m['ap'])} | {number(m['prevalence'])} | {number(m['auc'])} | {m['n']:,} |")
    macro = f"macro AP {number(metrics['macro_ap'])}, worst AP {number(metrics['min_ap'])}"
    return [*lines, "", f"{macro}, macro ROC-AUC {number(metrics['macro_auc'])}."]


def _use(about: dict[str, Any]) -> list[str]:
    given = "new.csv" if about["recipe"] is not None else "new.store"
    what = "`new.csv` has the columns ID and smiles; a .smi, an .sdf or a bag store with these features does as well."
    if about["recipe"] is None:
        what = "`new.store` is a bag store with the same features; a 2D table with `--instances` TABLES does as well."
    return [
        "## Use",
        "",
        "```sh",
        f"milbench predict THIS_FOLDER {given} --out predictions.parquet --attn_out attention.parquet",
        "```",
        "",
        what,
    ]


def _limits(about: dict[str, Any]) -> list[str]:
    applies = about["applicability"]
    lines = [
        "## Limits",
        "",
        "- The scores rank molecules. Rare positives weigh more in training, so a score is no calibrated frequency.",
    ]
    if applies is None:
        lines.append("- Where it applies is not known: no structures of the training molecules were at hand.")
    else:
        lines.append(
            f"- Inside its domain (`in_domain`): the nearest of {applies['molecules']:,} training molecules has a Tanimoto "
            f"similarity of at least {applies['threshold']:.3f} ({applies['fingerprint']}). So near are 95 % of the training "
            "molecules to one another. Outside, a prediction is an extrapolation."
        )
    return [*lines, "- A molecule without conformers is predicted from its 2D descriptors alone and marked `from_2d_alone`."]


def _versions(about: dict[str, Any]) -> list[str]:
    return ["## Versions", "", ", ".join(f"{name} {version}" for name, version in about["versions"].items())]

"""The models that a study's best trial trained, one a fold, kept to predict together as the final model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from milbench.data.bags import BagData
from milbench.data.choice import CHOSEN
from milbench.errors import StudyError
from milbench.recipe import recipe_of
from milbench.training.checkpoint import TrainedModel, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from milbench.data.cv import MILCVData
    from milbench.training.cross_validation import CVResult

FOLD_MODELS = "fold_models"
"""Their folder, in the study's."""
_AGAIN = "run the search with --fold_models, or leave it out to train final models"


def keep_fold_models(study_dir: Path, data: "MILCVData", result: "CVResult", trial: int) -> None:
    """Write the models of a trial's folds, each with all that it needs to predict, over those of an earlier trial."""
    for k, fold in enumerate(result.folds):
        info = {
            **model_origin(data.bags),
            "params": result.config.to_params(data.tasks),
            "seed": result.config.runtime.seed,
            "monitor": "inner",
            "fold": int(data.fold_names[k]),
            "best_epoch": fold.best_epoch,
            "epochs": fold.epochs,
            "monitored": fold.metrics.to_dict(),
            "trial": trial,
        }
        save_checkpoint(study_dir / FOLD_MODELS / f"{k}.ckpt", fold.model, data.fold(k), data.tasks, info)


def model_origin(bags: BagData) -> dict[str, Any]:
    """What a model remembers of its data: content, recipe, and how many conformers of each molecule it is given."""
    chosen = bags.provenance.get(CHOSEN, {})
    return {"data": bags.content, "recipe": recipe_of(bags.provenance), "conformers": chosen.get("conformers")}


def fold_models(study_dir: Path, folds: int) -> list[Path]:
    """Where the models of so many folds lie; a StudyError when one is not there."""
    paths = [study_dir / FOLD_MODELS / f"{k}.ckpt" for k in range(folds)]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise StudyError(missing, "no such fold model was kept", do=_AGAIN)
    return paths


def check_fold_models(paths: list[Path], data: str, params: dict[str, Any]) -> None:
    """A StudyError unless all are of one trial, trained on `data` with these parameters: the best trial's."""
    models: list[TrainedModel] = [load_checkpoint(path) for path in paths]
    trials = sorted({model.info["trial"] for model in models})
    for path, model in zip(paths, models, strict=True):
        wrong = "other data" if model.info["data"] != data else "other parameters" if model.info["params"] != params else ""
        if wrong or len(trials) > 1:
            what = f"was trained with {wrong} than the final model asks for" if wrong else f"are of trials {trials}"
            raise StudyError(path, what, do=_AGAIN)

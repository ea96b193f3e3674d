"""Predictions and scores of a trained model (seed 1.2). Loads no Lightning, so that predicting starts at once."""

from dataclasses import dataclass

import numpy as np
import torch

from milbench.data.cv import ScaledBags
from milbench.metrics import Metrics, evaluate
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.tasks import TaskSet

EVAL_BATCH = 512


@dataclass(frozen=True)
class Predictions:
    """Probabilities [n, T] of molecules, in order; attention [R, T] of their instances, molecule after molecule."""

    probability: np.ndarray
    attention: np.ndarray


@dataclass(frozen=True)
class ModelEvaluator:
    """Predicts and scores molecules with a trained model, on the device where the model is."""

    model: MILTaskAttnMixerWithAux
    data: ScaledBags
    tasks: TaskSet

    @torch.inference_mode()
    def predict(self, rows: np.ndarray) -> Predictions:
        """Predict the molecules `rows` [n] (places in the data set)."""
        was_training, device = self.model.training, next(self.model.parameters()).device
        self.model.eval()
        outputs = [self.model.predict(self.data.batch(index).to(device)) for index in torch.from_numpy(rows).split(EVAL_BATCH)]
        self.model.train(was_training)
        probability = torch.cat([torch.sigmoid(logits.double()) for logits, _ in outputs])
        return Predictions(probability.cpu().numpy(), torch.cat([attn.float() for _, attn in outputs]).cpu().numpy())

    def evaluate(self, rows: np.ndarray, predictions: Predictions | None = None) -> Metrics:
        """Scores of the molecules `rows`, whose labels are read here."""
        predictions = predictions or self.predict(rows)
        raw = self.data.bags.raw
        return evaluate(raw.y[rows], predictions.probability, raw.w[rows], self.tasks)

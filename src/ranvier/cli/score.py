"""How good predictions are: right answers with their uncertainty, the loss, the confusion matrix, the mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.diagnose.confusion import confusion_counts
from ranvier.diagnose.report import accuracy_interval

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """Predictions compared with the truth.

    Attributes:
        right: right answers.
        total: samples.
        loss: mean of ``-log p`` of the true class.
        interval: between which shares the accuracy lies, with 95 % confidence.
        confusion: counts, ``(classes, classes)``; row = what it is.
        said: the class the model named, for each sample.
        sure: the probability it gave to it.
        wrong: row numbers of the mistakes, the surest first.
    """

    right: int
    total: int
    loss: float
    interval: tuple[float, float]
    confusion: Any
    said: Any
    sure: Any
    wrong: Any

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.total

    def sentence(self) -> str:
        """The accuracy with its uncertainty, as a line of text."""
        low, high = (f"{100 * end:.1f} %" for end in self.interval)
        told = f"{self.right:,} of {self.total:,} right"
        return f"accuracy {100 * self.accuracy:.2f} %   ({told}; 95 % confidence: {low} to {high})"


def score(probabilities: Any, y: Any) -> Score:
    """Compare class probabilities ``(samples, classes)`` with true classes ``(samples,)``."""
    p, truth = np.asarray(probabilities), np.asarray(y).astype(np.int64)
    said = p.argmax(axis=1)
    rows = np.arange(len(truth))
    sure = p[rows, said]
    wrong = np.flatnonzero(said != truth)
    right = len(truth) - len(wrong)
    return Score(
        right=right,
        total=len(truth),
        loss=float(-np.log(np.maximum(p[rows, truth].astype(np.float64), 1e-7)).mean()),
        interval=accuracy_interval(right, len(truth)),
        confusion=confusion_counts(truth, said, p.shape[1]),
        said=said,
        sure=sure,
        wrong=wrong[np.argsort(-sure[wrong], kind="stable")],
    )

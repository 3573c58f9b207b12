"""What a step minimizes: binary cross-entropy, with class weights and label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

ClassWeight = Literal["balanced"] | float | None


@dataclass(frozen=True)
class Objective:
    """The loss of molecules in training; validation stays plain.

    The plain loss of the valid part decides on the best epoch: it is a proper score of the
    probabilities, and it compares runs whose weights and smoothing differ.

    Args:
        binder: weight of a binder.
        negative: weight of a negative.
        smoothing: this share of each label is divided evenly between "binder" and "negative"
            (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    """

    binder: float = 1.0
    negative: float = 1.0
    smoothing: float = 0.0

    @classmethod
    def of(cls, class_weight: ClassWeight, smoothing: float, labels: np.ndarray) -> Objective:
        """The objective that settings mean on a train part.

        The weights' mean over the train part is 1, so that a learning rate means the same with
        and without them. "balanced" is then scikit-learn's: ``N / (2 * N of the class)``.

        Args:
            class_weight: how many negatives one binder counts for; "balanced" lets all binders
                together count as much as all negatives; None weighs all molecules alike.
            smoothing: see the class.
            labels: 1 for a binder, 0 for a negative, shape (N,); both are there.
        """
        binders = int((labels == 1).sum())
        negatives = len(labels) - binders
        if class_weight is None:
            return cls(smoothing=smoothing)
        ratio = negatives / binders if class_weight == "balanced" else float(class_weight)
        mean = (ratio * binders + negatives) / len(labels)
        return cls(ratio / mean, 1 / mean, smoothing)

    def total(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Weighted loss of a batch, summed over its molecules, in nats.

        Whoever averages divides by the number of molecules, not by their weights: with weights
        whose mean is 1 each step's gradient then estimates that of the whole train part without
        bias, and a step in pieces is the step in one. A batch without a binder is a light one.

        Args:
            logits: (B,), any floating type; the loss is computed in fp32.
            labels: 1.0 or 0.0, shape (B,).
        """
        weights = torch.where(labels == 1, self.binder, self.negative)
        targets = labels * (1 - self.smoothing) + self.smoothing / 2
        return binary_cross_entropy_with_logits(
            logits.float(), targets, weight=weights.float(), reduction="sum"
        )

"""What is measured on the validation films after each epoch.

Point values that steer the training; intervals and tests belong to ``evaluation``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ValidationMetrics(NamedTuple):
    """Quality on the validation films; classes without a validation film are left out.

    Attributes:
        loss: Cross-entropy in nats, averaged within each class and then over classes, so that a
            rare class counts as much as a common one.
        accuracy: Share of films whose most probable class is right.
        macro_f1: Mean F1 over classes.
    """

    loss: float
    accuracy: float
    macro_f1: float


def compute_validation_metrics(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> ValidationMetrics:
    """Compare probabilities ``(N, K)`` with class indices ``(N,)``, ``N >= 1``.

    Returns:
        The metrics; probabilities are clipped at 1e-7 inside the logarithm.
    """
    predicted = probabilities.argmax(axis=1)
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses = -np.log(np.maximum(right, 1e-7))
    f1_scores, class_losses = [], []
    for label in np.unique(labels):
        is_label, is_predicted = labels == label, predicted == label
        hits = np.count_nonzero(is_label & is_predicted)
        f1_scores.append(2 * hits / (np.count_nonzero(is_label) + np.count_nonzero(is_predicted)))
        class_losses.append(losses[is_label].mean())
    return ValidationMetrics(
        float(np.mean(class_losses)),
        float(np.mean(predicted == labels)),
        float(np.mean(f1_scores)),
    )

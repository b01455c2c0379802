"""How sure it is that a candidate is text: a logistic regression on its features.

Owns the fitted numbers, ``calibration.json``, which ``python -m recipes.marker_detector.calibrate``
makes from annotated films.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import CheckpointError
from covid_debug.text.marker_detector.candidates import FEATURES, Candidate

CALIBRATION_PATH = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted logistic regression.

    Attributes:
        weights: One weight for each of the features.
        intercept: Log odds where all features are 0.
    """

    weights: NDArray[np.float64]
    intercept: float

    def rate(self, candidates: Sequence[Candidate]) -> list[float]:
        """Return for each candidate the probability that it is text, in [0, 1]."""
        if not candidates:
            return []
        features = np.stack([candidate.features for candidate in candidates])
        odds = features @ self.weights + self.intercept
        return [float(share) for share in 1 / (1 + np.exp(-np.clip(odds, -50, 50)))]


def load_marker_calibration(path: Path = CALIBRATION_PATH) -> Calibration:
    """Read fitted numbers.

    Args:
        path: File that the recipe wrote.

    Returns:
        The regression.

    Raises:
        CheckpointError: If the file is missing or was fitted on other features.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        weights = [float(content["weights"][name]) for name in FEATURES]
        return Calibration(np.array(weights), float(content["intercept"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"text.marker: {path} holds no calibration for the features {', '.join(FEATURES)}"
            f" ({error}); make one by python -m recipes.marker_detector.calibrate"
        ) from error

"""How well an attribute tells the label, and how well it can be read from the image.

The two numbers of G-AUDIT [drenkow2025gaudit]: *utility*, attribute to label, and *detectability*,
image to attribute. Both are areas under the ROC curve of a multinomial logistic regression on
held-out patients, 0.5 by chance; neither asks a trained model.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covid_debug.evaluation.auc import estimate_macro_auc
from covid_debug.evaluation.statistics import Estimate

Features = NDArray[np.float64]
Labels = NDArray[np.int64]

N_FOLDS = 5
_N_KINDS = 3
_STRENGTH = 0.1  # inverse of the penalty, for features of unit variance


def measure_auc(
    features: Features, labels: Labels, patients: Sequence[str], *, seed: int
) -> Estimate:
    """Predict labels of held-out patients from features.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)``; labels with fewer patients than folds take no part, with their films.
        patients: ``(N,)``; no patient is in training and test fold at once.
        seed: Seed of folds and bootstrap.

    Returns:
        Mean of the areas of each label against the others, with its interval over patients;
        undefined where fewer than two labels are left.
    """
    people = np.asarray(patients)
    kept = [k for k in np.unique(labels) if len(np.unique(people[labels == k])) >= N_FOLDS]
    rows = np.flatnonzero(np.isin(labels, kept))
    if len(kept) < 2:
        return Estimate.undefined(len(rows), f"needs two kinds of {N_FOLDS} patients each")
    features, people = features[rows], people[rows]
    labels = np.searchsorted(kept, labels[rows]).astype(np.int64)
    # Slow to import, and nobody who only reads a map needs them.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed % 2**32)
    scores = np.zeros((len(labels), len(kept)))
    for train, test in folds.split(features, labels, people):
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(max_iter=1000, C=_STRENGTH, class_weight="balanced"),
        )
        model.fit(features[train], labels[train])
        scores[test[:, None], model[-1].classes_] = model.predict_proba(features[test])
    return estimate_macro_auc(scores, labels, list(people), seed=seed)


def sort_into_kinds(features: Features, *, seed: int) -> Labels:
    """Sort films into a few kinds by an attribute, so that it can be asked for.

    Args:
        features: ``(N, D)`` of the attribute.
        seed: Seed of the clustering.

    Returns:
        ``(N,)``: its values where there are at most three, else clusters of the films (k-means on
        standardised numbers, k = 3).
    """
    values, index = np.unique(features, axis=0, return_inverse=True)
    if len(values) <= _N_KINDS:
        return index.ravel().astype(np.int64)
    from sklearn.cluster import KMeans  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    scaled = StandardScaler().fit_transform(features)
    means = KMeans(_N_KINDS, n_init=4, random_state=seed % 2**32)
    return np.asarray(means.fit_predict(scaled), np.int64)

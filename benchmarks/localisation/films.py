"""Films whose class is known to hang on some pixels, and which pixels these are.

A film counts only where it is *driven*: without the cause, and with all else as it was, the model
says another class. Owns what the three kinds of truth share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.seeding import derive_seed

Views = NDArray[np.uint8]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Films that bear a cause, as a model sees them.

    Attributes:
        kind: ``plant``, ``mark``, ``sign`` or ``text``.
        names: One per film.
        patients: One per film.
        views: ``(N, S, S)``, the films.
        twins: ``(N, S, S)``, without the cause.
        truth: ``(N, S, S)``, where the cause lies.
        ink: ``(N, S, S)``, the part of it that was drawn; the truth where there is no such part.
        harmless: ``(N, S, S)``, what tells nothing of the class.
        text: ``(N, S, S)``, all text, as a detector finds it; on phantoms as it was drawn.
        others: Twins without the harmless part, and the like; where the class of one of them
            differs from the film's, the film hangs on more than the cause and is left out.
    """

    kind: str
    names: Sequence[str]
    patients: Sequence[str]
    views: Views
    twins: Views
    truth: Masks
    ink: Masks
    harmless: Masks
    text: Masks
    others: Sequence[Views] = ()


@dataclass(frozen=True, slots=True)
class TruthFilms:
    """Driven films of one model and kind of truth.

    Attributes:
        kind: As in :class:`Candidates`.
        images: Canonical, ``(N, 1, S, S)``.
        targets: Predicted class, which the cause drives.
        names: One per film.
        patients: One per film; intervals resample patients.
        truth: ``(N, 1, S, S)``.
        ink: ``(N, 1, S, S)``.
        harmless: ``(N, 1, S, S)``; empty where the film has nothing of the kind.
        text: ``(N, 1, S, S)``.
        n_candidates: Films that bear the cause.
        n_driven: Films among them that are driven, drawn here or not.
    """

    kind: str
    images: Tensor
    targets: Tensor
    names: Sequence[str]
    patients: Sequence[str]
    truth: Tensor
    ink: Tensor
    harmless: Tensor
    text: Tensor
    n_candidates: int
    n_driven: int


def select_driven(
    classifier: Classifier, found: Candidates, *, n_films: int, seed: int
) -> TruthFilms:
    """Keep the films whose class the cause drives, at most ``n_films`` of them.

    Args:
        classifier: The model.
        found: Films with the cause.
        n_films: Most films, drawn by the seed.
        seed: Of the draw; a film's place in it depends on no other film.

    Returns:
        The driven films; there may be none.
    """

    def classes(views: Views) -> NDArray[np.int64]:
        if not len(views):
            return np.empty(0, np.int64)
        return np.asarray(predict_probabilities(classifier, views).argmax(axis=1), np.int64)

    said = classes(found.views)
    is_driven = (said != classes(found.twins)) & found.truth.any(axis=(1, 2))
    for other in found.others:
        is_driven &= said == classes(other)
    rows = np.flatnonzero(is_driven).tolist()
    rows.sort(key=lambda row: derive_seed(seed, found.names[row], "localisation"))
    kept = rows[:n_films]
    device = classifier.device

    def masks(of: Masks) -> Tensor:
        return torch.from_numpy(of[kept])[:, None].to(device)

    images = to_canonical(found.views[kept], device) if kept else torch.empty(0, 1, 1, 1)
    return TruthFilms(
        kind=found.kind,
        images=images,
        targets=torch.from_numpy(said[kept]).to(device),
        names=[found.names[row] for row in kept],
        patients=[found.patients[row] for row in kept],
        truth=masks(found.truth),
        ink=masks(found.ink),
        harmless=masks(found.harmless),
        text=masks(found.text),
        n_candidates=len(found.names),
        n_driven=len(rows),
    )

"""Training films as a batch shows them: with their own text, or with another film's.

A film's text is the difference between its view and its text-free view, as in
:mod:`covid_debug.audit.markers`.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from covid_debug.training.mitigation import Labels, MitigationParams, Views

_GROWTH = 1 / 100  # of the view's side: how far the text's mask reaches beyond what differs


def make_reader(
    views: Views,
    text_free: Views | None,
    params: MitigationParams,
    rng: np.random.Generator,
    share: slice = slice(None),
) -> Callable[[Labels], Tensor]:
    """Return what reads the planes of a batch.

    Args:
        views: ``(N, S, S)`` the training views.
        text_free: The same without text; None where no mitigation needs it.
        params: ``random_text`` exchanges text; ``right_reasons`` asks for its mask.
        rng: Of the exchange; used in the order of the batches.
        share: Which films of a batch are read; the exchange is drawn for all of them.

    Returns:
        A function of a batch's film indices: uint8 ``(n, 1, S, S)``, or ``(n, 2, S, S)`` with a
        second plane that is 255 inside the shown text.
    """

    def read(batch: Labels) -> Tensor:
        films = batch[share]
        shown = np.asarray(views[films])
        if text_free is None:
            return torch.from_numpy(shown)[:, None]
        bare = np.asarray(text_free[films])
        if params.random_text > 0:
            donors = draw_donors(batch, len(views), params.random_text, rng)[share]
            shown = lay_text(bare, np.asarray(views[donors]), np.asarray(text_free[donors]))
        if params.right_reasons == 0:
            return torch.from_numpy(shown)[:, None]
        return torch.from_numpy(np.stack([shown, mark_text(shown, bare)], axis=1))

    return read


def draw_donors(films: Labels, n_films: int, share: float, rng: np.random.Generator) -> Labels:
    """Return whose text each film shows: its own, or with probability ``share`` another's."""
    others = rng.integers(n_films - 1, size=len(films))
    others += others >= films
    return np.where(rng.random(len(films)) < share, others, films)


def lay_text(bare: Views, views: Views, text_free: Views) -> Views:
    """Lay the text of some films on others.

    Args:
        bare: ``(N, S, S)`` text-free views that receive.
        views: ``(N, S, S)`` views that give their text.
        text_free: The same without it.

    Returns:
        ``(N, S, S)``, cut to 0..255; a film that gets its own text is as it was.
    """
    gains = views.astype(np.int16) - text_free
    return np.clip(bare + gains, 0, 255).astype(np.uint8)


def mark_text(shown: Views, bare: Views) -> Views:
    """Return 255 where views differ from their text-free ones, and a little around it."""
    reach = 1 + 2 * max(1, round(shown.shape[1] * _GROWTH))
    kernel = np.ones((reach, reach), np.uint8)
    masks = [cv2.dilate(each, kernel) for each in np.where(shown != bare, 255, 0).astype(np.uint8)]
    return np.stack(masks)

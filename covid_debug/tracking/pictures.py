"""Small pictures of audited films for MLflow's image grid; shows, decides nothing."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_debug.audit.artifact import AuditedFilm
from covid_debug.imaging.overlays import overlay_saliency

N_PICTURES = 12
_SIDE_PX = 256
_STRIP_PX = 40


def rank_severe(films: Sequence[AuditedFilm]) -> list[str]:
    """Return the image ids of the most severe films, at most :data:`N_PICTURES`."""
    ranked = sorted(films, key=lambda film: film.rank)[:N_PICTURES]
    return [film.image_id for film in ranked]


def draw_film(
    film: AuditedFilm, view: NDArray[np.uint8], saliency: NDArray[np.floating] | None
) -> NDArray[np.uint8]:
    """Lay a film beside its map, with what the audit says of it below.

    Args:
        film: What the audit says.
        view: ``(S, S)``, what the model sees.
        saliency: ``(S, S)``, its map; None shows the film alone.

    Returns:
        ``(H, W, 3)`` RGB.
    """
    panels = [np.repeat(view[..., None], 3, axis=2)]
    if saliency is not None and saliency.shape == view.shape:
        panels.append(overlay_saliency(view, saliency))
    method = cv2.INTER_AREA if len(view) > _SIDE_PX else cv2.INTER_LINEAR
    shown = [cv2.resize(panel, (_SIDE_PX, _SIDE_PX), interpolation=method) for panel in panels]
    width = _SIDE_PX * len(shown)
    strip = Image.new("RGB", (width, _STRIP_PX), "white")
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(strip).multiline_text((4, 4), _caption(film), fill="black", font=font)
    return np.vstack([np.hstack(shown), np.asarray(strip)])


def _caption(film: AuditedFilm) -> str:
    without = film.interventions.text_removed
    change = "" if math.isnan(without) else f", without text {without:.2f}"
    return (
        f"{film.target_class} {film.probability:.2f}{change}\n"
        f"{film.verdict.replace('_', ' ')}; is {film.label}"
    )

"""Small pictures of audited films for MLflow's image grid; shows, decides nothing."""

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_debug.audit.artifact import AuditedFilm
from covid_debug.imaging.overlays import overlay_saliency
from covid_debug.saliency.naming import title_of

N_PICTURES = 12
_SIDE_PX = 256
_STRIP_PX = 40


def rank_severe(films: Sequence[AuditedFilm]) -> list[str]:
    """Return the image ids of the most severe films, at most :data:`N_PICTURES`."""
    ranked = sorted(films, key=lambda film: film.rank)[:N_PICTURES]
    return [film.image_id for film in ranked]


def draw_film(
    film: AuditedFilm,
    view: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.floating] | None],
) -> NDArray[np.uint8]:
    """Lay a film beside its maps, each under its method's name, with the audit's words below.

    Args:
        film: What the audit says.
        view: ``(S, S)``, what the model sees.
        maps: Method -> ``(S, S)``; one that is None, void or of another size is left out.

    Returns:
        ``(H, W, 3)`` RGB.
    """
    panels = {"": np.repeat(view[..., None], 3, axis=2)}
    for method, saliency in maps.items():
        said = film.maps.get(method)
        is_void = said is not None and said.void
        if saliency is not None and saliency.shape == view.shape and not is_void:
            panels[title_of(method)] = overlay_saliency(view, saliency)
    scale = cv2.INTER_AREA if len(view) > _SIDE_PX else cv2.INTER_LINEAR
    shown = [
        _write_name(cv2.resize(panel, (_SIDE_PX, _SIDE_PX), interpolation=scale), title)
        for title, panel in panels.items()
    ]
    width = _SIDE_PX * len(shown)
    strip = Image.new("RGB", (width, _STRIP_PX), "white")
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(strip).multiline_text((4, 4), _caption(film), fill="black", font=font)
    return np.vstack([np.hstack(shown), np.asarray(strip)])


def _write_name(panel: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    if not title:
        return panel
    picture = Image.fromarray(panel)
    font = ImageFont.load_default(size=13)
    place = (6, _SIDE_PX - 20)
    ImageDraw.Draw(picture).text(
        place, title, fill="white", font=font, stroke_width=2, stroke_fill="black"
    )
    return np.asarray(picture)


def _caption(film: AuditedFilm) -> str:
    without = film.interventions.text_removed
    change = "" if math.isnan(without) else f", without text {without:.2f}"
    return (
        f"{film.target_class} {film.probability:.2f}{change}\n"
        f"{film.verdict.replace('_', ' ')}; is {film.label}"
    )

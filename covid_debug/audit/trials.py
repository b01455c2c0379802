"""One text planted on one film, with an effect that is known.

A model at hand may not care about a planted word at all, so there would be nothing to find.
Therefore the model is given a *sensor* for the planted glyphs: the target's log-odds rise by
``effect`` times the local contrast of the glyphs, which is 1 on the planted film and 0 on the film
without the plant. Everything else (the model, the film, the fill, the null and, where one is
passed, the text detector) is the real thing. With ``effect = 0`` the model's own reaction is
measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_debug.audit.interventions import intervene
from covid_debug.audit.nulls import draw_place
from covid_debug.audit.planning import AuditSubject, Views
from covid_debug.audit.verdicts import Answer, Evidence, log_odds
from covid_debug.errors import InputContractError
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.geometry import compute_geometry, render_view, render_view_mask
from covid_debug.imaging.masks import Mask, PlacedMask
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Film, TextRegion
from covid_debug.seeding import derive_seed

Predict = Callable[[Views], NDArray[np.float32]]

_BORDER_DISTANCE = 0.04  # of the view's side: where markers are found
_LEAST_CONTRAST = 1.0  # gray levels in the view, below which a plant is invisible
_LEAST_COVER = 0.5  # share of a plant's box that detected regions must cover
_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Ground:
    """The film that is planted on.

    Attributes:
        pixels: ``(H, W)`` uint8, without its own text.
        taken: ``(H, W)`` bool, True where nothing may be planted.
        view: ``(S, S)`` what the model sees of it.
        nothing: ``(S, S)`` the film with everything removed.
    """

    pixels: Views
    taken: Mask
    view: Views
    nothing: Views


@dataclass(frozen=True)
class Trial:
    """One planted text with the model's own answers, before any effect is added.

    Attributes:
        film: The film.
        content: What is written.
        height_share: Height of the letters as a share of the view's side.
        contrast: Brightness added under the glyphs, in gray levels.
        base: ``(K,)`` probabilities without the plant.
        planted: ``(K,)`` probabilities with the plant.
        rows: ``(3 + n, K)`` probabilities under the interventions; None if the text was not
            detected.
        responses: ``(3 + n,)`` response of the sensor to the same views, in [0, 1].
    """

    film: Film
    content: str
    height_share: float
    contrast: int
    base: NDArray[np.float32]
    planted: NDArray[np.float32] | None = None
    rows: NDArray[np.float32] | None = None
    responses: NDArray[np.float64] | None = None

    def answers(
        self, effect: float, target: int, class_names: Sequence[str], margin: float
    ) -> tuple[Answer, Answer, Evidence | None]:
        """Return the answers under an effect.

        Args:
            effect: Log-odds that the glyphs add to the target class.
            target: Index of the audited class.
            class_names: Classes of the model.
            margin: Least effect that is tested for, in log-odds.

        Returns:
            The answer without the plant, with it, and the evidence where it was detected.
        """
        base = _shift(self.base, 0.0, target, class_names)
        planted = self.base if self.planted is None else self.planted
        film = _shift(planted, effect, target, class_names)
        if self.rows is None or self.responses is None:
            return base, film, None
        removed, revealed, nothing, *null_removed = [
            _shift(row, effect * float(response), target, class_names)
            for row, response in zip(self.rows, self.responses, strict=True)
        ]
        evidence = Evidence(
            target=class_names[target],
            film=film,
            text_removed=removed,
            text_revealed=revealed,
            baseline=nothing,
            null_removed=tuple(null_removed),
            margin=margin,
        )
        return base, film, evidence


def run_trial(
    trial: Trial, ground: Ground, subject: AuditSubject, predict: Predict, seed: int
) -> Trial:
    """Plant, detect, intervene and predict.

    Args:
        trial: What to plant.
        ground: On which film.
        subject: Model, how the audit works, and the detector; without one the planted box counts
            as found.
        predict: Maps ``(N, S, S)`` views to ``(N, K)`` probabilities.
        seed: Decides the place and the nulls.

    Returns:
        The trial with its answers.

    Raises:
        InputContractError: If the text does not fit or cannot be seen in the view.
    """
    spec, params, detect = subject.model.view, subject.params, subject.detect
    height, width = ground.pixels.shape
    geometry = compute_geometry(width, height, spec)
    glyphs = draw_text(trial.content, max(5, round(trial.height_share * geometry.side)))
    margin = round(_BORDER_DISTANCE * geometry.side)
    box = PlacedMask(geometry.y0 + margin, geometry.x0 + margin, np.ones(glyphs.shape, np.bool_))
    place, _ = draw_place(box, ground.taken, geometry, np.random.default_rng(seed))
    if place is None:
        raise InputContractError(f"planting: no text-free place is large enough for {glyphs.shape}")
    window = place.window((height, width))
    film = ground.pixels.astype(np.float64)
    film[window] += trial.contrast * glyphs
    planted = np.clip(np.rint(film), 0, 255).astype(np.uint8)
    inked = np.zeros((height, width), np.bool_)
    inked[window] = glyphs > 0.5
    sensor = Sensor(render_view_mask(inked, spec))
    view = render_view(planted, spec)
    low, high = sensor.read(ground.view), sensor.read(view)
    if high - low < _LEAST_CONTRAST:
        raise InputContractError("planting: the text is invisible in the view")
    trial = replace(trial, planted=predict(view[None])[0])
    found = [_box_region(place, trial.content)] if detect is None else detect([planted])[0]
    if regions_to_mask(found, width, height)[window].mean() < _LEAST_COVER:
        return trial
    stack = intervene(
        planted,
        found,
        spec,
        n_nulls=params.n_nulls,
        dilation_px=params.dilation_px,
        method=params.method,
        radius_px=params.radius_px,
        seed=derive_seed(seed, "nulls"),
        baseline=ground.nothing,
    ).stack()
    readings = np.array([sensor.read(item) for item in stack])
    responses = np.clip((readings - low) / (high - low), 0.0, 1.0)
    return replace(trial, rows=predict(stack), responses=responses)


class Sensor:
    """Reads the contrast of glyphs against their surroundings in a view."""

    def __init__(self, mask: Mask) -> None:
        """Bind the place.

        Args:
            mask: ``(S, S)`` bool, True on the glyphs.
        """
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        self._mask, self._ring = mask, grown & ~mask

    def read(self, view: Views) -> float:
        """Return glyphs minus surroundings in gray levels."""
        return float(view[self._mask].mean() - view[self._ring].mean())


def draw_text(content: str, height_px: int) -> NDArray[np.float64]:
    """Return the glyphs' coverage in [0, 1], about ``height_px`` high, cropped to their box."""
    font = ImageFont.load_default(size=height_px * 1.4)
    left, top, right, bottom = font.getbbox(content)
    canvas = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), content, fill=255, font=font)
    return np.asarray(canvas, np.float64) / 255


def _box_region(place: PlacedMask, content: str) -> TextRegion:
    top, left = float(place.top), float(place.left)
    box = (left, top, left + place.wide, top + place.high)
    return TextRegion(to_polygon(box), 1.0, content, "planted")


def _shift(
    row: NDArray[np.float32], added: float, target: int, class_names: Sequence[str]
) -> Answer:
    logits = np.log(row.astype(np.float64) + _TINY)
    logits[target] += added
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return Answer(float(p[target]), float(log_odds(p, target)), class_names[int(p.argmax())])

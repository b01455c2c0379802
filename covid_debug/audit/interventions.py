"""What is done to a film to learn whether its text matters.

Two interventions: *removed* (inpainted in the film's own pixels, then rendered to the view), of the
text and of matched text-free patches of the same film; and *revealed* (the only thing left of the
view on its baseline, normally its blurred copy), of the text alone. Models are called elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.audit.nulls import Patch, clip_to_view, draw_matched_patches, paint
from covid_debug.catalog import Catalog
from covid_debug.imaging.geometry import ViewSpec, compute_geometry, render_view, render_view_mask
from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.perturbation.baselines import BaselineSpec, make_baseline
from covid_debug.records import TextRegion
from covid_debug.saliency.base import MIN_SCORE_GAP

Views = NDArray[np.uint8]

_GROUP = 64  # baselines held at once

BASELINES = Catalog(
    "audit baseline",
    {
        "blur": BaselineSpec("blur"),
        "black": BaselineSpec("constant", 0.0),
        "white": BaselineSpec("constant", 1.0),
        "gray": BaselineSpec("constant", 0.5),
    },
)
"""What a film becomes when everything is removed; ``"blur"`` is the papers'."""


@dataclass(frozen=True, slots=True)
class Intervened:
    """Views of one film under every intervention.

    Attributes:
        text_removed: ``(S, S)`` view of the film whose text is inpainted.
        text_revealed: ``(S, S)`` baseline that shows only the text.
        baseline: ``(S, S)`` the film with everything removed, normally its blur.
        null_removed: ``(K, S, S)`` as ``text_removed``, at each matched patch.
        text_mask: ``(S, S)`` bool, True where text leaks into the view.
        n_border_matched: Nulls at the text's own distance to the border.
    """

    text_removed: Views
    text_revealed: Views
    baseline: Views
    null_removed: Views
    text_mask: Mask
    n_border_matched: int

    def stack(self) -> Views:
        """Return all views as one batch: removed, revealed, baseline, then the nulls."""
        singles = np.stack([self.text_removed, self.text_revealed, self.baseline])
        return np.concatenate([singles, self.null_removed])


def text_in_view(
    regions: Sequence[TextRegion], width: int, height: int, spec: ViewSpec, *, dilation_px: int
) -> tuple[Mask, Mask]:
    """Draw a film's text on the film and on the part that the model sees.

    Args:
        regions: Text in film pixels.
        width: Film width in pixels.
        height: Film height in pixels.
        spec: How views are made.
        dilation_px: Growth of every region in film pixels.

    Returns:
        ``(H, W)`` mask of all text, and the same cut to the view; the second is empty where all
        text lies in the dropped rows or side strips, where it cannot influence the model.
    """
    mask = regions_to_mask(regions, width, height, dilation_px=dilation_px)
    return mask, clip_to_view(mask, compute_geometry(width, height, spec))


def intervene(
    film: NDArray[np.uint8],
    regions: Sequence[TextRegion],
    spec: ViewSpec,
    *,
    n_nulls: int,
    dilation_px: int,
    method: str,
    radius_px: float,
    seed: int,
    baseline: Views,
    others: Sequence[TextRegion] = (),
) -> Intervened:
    """Make every intervened view of one film.

    Args:
        film: ``(H, W)`` uint8, original pixels.
        regions: Its text; at least one region must reach into the view.
        spec: How views are made.
        n_nulls: Matched patches wanted; fewer come back where the film has no room.
        dilation_px: Growth of the text regions in film pixels.
        method: Fill of the removed pixels, see :func:`covid_debug.imaging.inpainting.inpaint`.
        radius_px: Reach of the fill in film pixels; patches keep this distance from text, so
            that a fill never draws from it.
        seed: Seed of this film's patches.
        baseline: ``(S, S)`` view on which the text is revealed.
        others: Regions that stay on the film; no patch is put on them.

    Returns:
        The views.
    """
    height, width = film.shape
    everything, inside = text_in_view(regions, width, height, spec, dilation_px=dilation_px)
    patches = draw_matched_patches(
        everything,
        compute_geometry(width, height, spec),
        n_nulls=n_nulls,
        gap_px=int(np.ceil(radius_px)),
        seed=seed,
        closed=regions_to_mask(others, width, height, dilation_px=dilation_px) if others else None,
    )

    view = render_view(film, spec)
    text_mask = render_view_mask(inside, spec)
    size = spec.image_size
    removed = np.empty((len(patches.patches), size, size), np.uint8)
    for k, patch in enumerate(patches.patches):
        mask = paint(patch, height, width)
        filled = _fill_patch(film, patch, mask, method, radius_px)
        removed[k] = render_view(filled, spec)
    text_free = _fill(film, inside, method, radius_px)
    return Intervened(
        text_removed=render_view(text_free, spec),
        text_revealed=np.where(text_mask, view, baseline),
        baseline=baseline,
        null_removed=removed,
        text_mask=text_mask,
        n_border_matched=patches.n_border_matched,
    )


def _fill(film: Views, mask: Mask, method: str, radius_px: float) -> Views:
    filled = inpaint(film, mask, method=method, radius_px=radius_px)
    return np.asarray(filled, np.uint8)


def _fill_patch(film: Views, patch: Patch, mask: Mask, method: str, radius_px: float) -> Views:
    # Piece by piece on small windows: the same values as on the whole film, at a fraction of
    # the cost, because a null is filled many times a film.
    filled = film.copy()
    for piece in patch:
        window = piece.window(film.shape, margin=2 * int(np.ceil(radius_px)) + 4)
        values = _fill(film[window], mask[window], method, radius_px)
        inner = piece.window(film.shape)
        top, left = inner[0].start - window[0].start, inner[1].start - window[1].start
        found = values[top : top + piece.high, left : left + piece.wide]
        filled[inner][piece.mask] = found[piece.mask]
    return filled


def is_constant(kind: str) -> bool:
    """Tell whether a baseline is the same for every film."""
    return BASELINES[kind].kind == "constant"


def make_baseline_views(views: Views, kind: str) -> Views:
    """Return what films look like with everything removed.

    Args:
        views: ``(N, S, S)`` uint8.
        kind: Key of :data:`BASELINES`.

    Returns:
        ``(N, S, S)`` uint8, rounded.
    """
    images = torch.from_numpy(np.array(views)).to(torch.float32)[:, None] / 255
    baseline = make_baseline(images, BASELINES[kind])[:, 0]
    return (baseline * 255).round().to(torch.uint8).numpy()


def choose_baseline(
    predict: Callable[[Views], NDArray[np.float32]],
    views: Views,
    scores: NDArray[np.float32],
    kinds: Sequence[str],
) -> str:
    """Choose what stands for "nothing" on this model.

    A classifier may call the blurred film itself the target class. Then nothing can be revealed
    on it and every mask explanation that ends there is void. The first kind in the list is taken
    for which the median film loses at least :data:`MIN_SCORE_GAP` of its target probability.

    Args:
        predict: Maps ``(N, S, S)`` views to the target's probability ``(N,)``.
        views: ``(N, S, S)`` of the audited films.
        scores: ``(N,)`` target probability of the films as they are.
        kinds: Keys of :data:`BASELINES`, best first.

    Returns:
        The kind; the first one if none will do (the explanations will then say that they are
        void).
    """
    for kind in kinds:
        lost = [
            scores[start : start + _GROUP]
            - predict(make_baseline_views(views[start : start + _GROUP], kind))
            for start in range(0, len(views), _GROUP)
        ]
        if lost and np.median(np.concatenate(lost)) >= MIN_SCORE_GAP:
            return kind
    return kinds[0]

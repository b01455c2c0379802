"""What a film carries besides disease, and how one film is given it by another.

Owns the catalogue of attributes: each is read from a film as numbers, and all but the source can be
exchanged, which makes the view of a film that has the attribute of another. How far a model relies
on one is measured in :mod:`covid_debug.audit.reliance`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from covid_debug.audit.exchange import (
    blend,
    limit_levels,
    match_histogram,
    match_spectrum,
    measure_spectrum,
    recompress,
    resample,
)
from covid_debug.audit.features import (
    BORDER_SHARE,
    describe_border,
    describe_image,
    describe_layout,
)
from covid_debug.catalog import Catalog
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec, compute_geometry, render_view
from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import FilmFile, read_film
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.text.strokes import StrokeDetector

View = NDArray[np.uint8]
Features = NDArray[np.float64]
FindLungs = Callable[[View], Mask]
Quantization = tuple[int, ...]

_CORNER_SHARE = 3 / 16
_GROWTH_PX = 6  # of text and marks, for soft edges and halos
_REACH_PX = 10.0
_OVERLAP = 0.2  # of a mark with text, from which on it is text
_UNCERTAIN = "uncertain"
_FLAT_LEVELS = 12.0  # spread of gray values within a collimated row
_MAX_MARGIN = 0.25  # of the view's side
_LUNG_SHARE = (0.05, 0.7)  # of the view; outside it the lungs count as not found


@dataclass(frozen=True, slots=True)
class FilmReading:
    """What is known of one film; all images are of its view, ``(S, S)``.

    Attributes:
        film: The film's record.
        view: uint8, what the model sees.
        text_free: uint8, the same with the text inpainted.
        mark_free: uint8, ``text_free`` with the marks inpainted, too.
        margins: Rows and columns of collimation at top, bottom, left and right, in pixels.
        lungs: bool, True inside the lungs; None where they were not found.
        side_px: Side of the film's square that becomes the view, in film pixels.
        quantization: The file's JPEG table of brightness; None for files of another format.
        n_levels: Distinct gray values of the film.
        features: Attribute -> the numbers that describe it; without those that are not known.
    """

    film: Film
    view: View
    text_free: View
    mark_free: View
    margins: tuple[int, int, int, int]
    lungs: Mask | None
    side_px: int
    quantization: Quantization | None
    n_levels: int
    features: Mapping[str, Features]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A film that is to be given something by another.

    Attributes:
        film: ``(H, W)`` uint8, its pixels.
        spec: How views are made.
        own: What is known of the film.
        donor: What is known of the other film.
    """

    film: View
    spec: ViewSpec
    own: FilmReading
    donor: FilmReading


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that a film carries.

    Attributes:
        title: As it is called in tables and sentences.
        description: What is exchanged.
        exchange: Returns the view of the film with the attribute of the donor; None where nothing
            can be exchanged.
        is_whole: True for a part that other attributes are parts of, and for the lungs: not
            compared with the others.
        needs_lungs: True where it takes part only on films whose lungs were found.
    """

    title: str
    description: str
    exchange: Callable[[Exchange], View] | None = None
    is_whole: bool = False
    needs_lungs: bool = False

    def is_known(self, reading: FilmReading) -> bool:
        """Tell whether a film can give or take it."""
        return not self.needs_lungs or reading.lungs is not None


def read_attributes(
    file: FilmFile,
    film: Film,
    regions: FilmRegions,
    spec: ViewSpec,
    find_lungs: FindLungs,
) -> FilmReading:
    """Read from a film all that it may give to another.

    Args:
        file: The film's file.
        film: Its record.
        regions: Its text, with what the detectors dropped.
        spec: How views are made.
        find_lungs: Marks the lungs of a film ``(H, W)``.

    Returns:
        The reading.

    Raises:
        DataIntegrityError: If the file cannot be read.
    """
    pixels = read_film(file).to_uint8()
    height, width = pixels.shape
    view = render_view(pixels, spec)
    text = regions_to_mask(regions.texts, width, height, dilation_px=_GROWTH_PX)
    text_free = _fill(pixels, text)
    marks = find_marks(pixels, regions, text)
    drawn = regions_to_mask(marks, width, height, dilation_px=_GROWTH_PX)
    clean = render_view(text_free, spec)
    margins = find_margins(clean)
    lungs = _check_lungs(render_view(255 * find_lungs(pixels).astype(np.uint8), spec) >= 128)
    quantization = _read_quantization(file)
    n_levels = len(np.unique(pixels))
    side = compute_geometry(width, height, spec).side
    features: dict[str, Features] = {
        "text": describe_layout(regions.texts, width, height),
        "border": np.concatenate([describe_border(clean[None])[0], np.array(margins, np.float64)]),
        "corners": describe_image(np.where(_corners(spec.image_size), clean, 0)),
        "marks": describe_layout(marks, width, height),
        "size": np.array([np.log(width), np.log(height), width == height, np.log(side)]),
        "jpeg": _describe_quantization(quantization),
        "bit_depth": np.array([np.log2(n_levels)]),
        "histogram": np.percentile(view, np.arange(0, 101, 5)),
        "sharpness": measure_spectrum(view),
    }
    if lungs is not None:
        features["lungs"] = describe_image(np.where(lungs, view, 0))
        features["outside_lungs"] = describe_image(np.where(lungs, 0, view))
    return FilmReading(
        film,
        view,
        clean,
        render_view(_fill(text_free, drawn), spec),
        margins,
        lungs,
        side,
        quantization,
        n_levels,
        features,
    )


def find_marks(pixels: View, regions: FilmRegions, text: Mask) -> tuple[TextRegion, ...]:
    """Find marks without letters: arrows, electrodes, clips, fasteners.

    They are what the detector of strokes sees beside the known text, the annotations, and what the
    scan for text left out as uncertain. Long wires and tubes are in neither.

    Args:
        pixels: The film, ``(H, W)``.
        regions: Its text, with what the detectors dropped.
        text: ``(H, W)``, True on its text.

    Returns:
        The marks, in film pixels.
    """
    found = list(StrokeDetector().detect([pixels])[0])
    found += [region for region in regions.regions if not region.is_text]
    found += [region for region, reason in regions.rejected if reason.startswith(_UNCERTAIN)]
    height, width = pixels.shape
    return tuple(
        region
        for region in found
        if text[regions_to_mask([region], width, height)].mean() < _OVERLAP
    )


def find_margins(view: View) -> tuple[int, int, int, int]:
    """Measure black and white collimated margins.

    Args:
        view: ``(S, S)`` uint8.

    Returns:
        Flat rows or columns at top, bottom, left and right, each at most a quarter of the side.
    """
    most = int(_MAX_MARGIN * len(view))
    widths = []
    for lines in (view, view[::-1], view.T, view.T[::-1]):
        low, high = np.percentile(lines[:most], (5, 95), axis=1)
        is_flat = (high - low <= _FLAT_LEVELS) & ((high <= 40) | (low >= 215))
        widths.append(int(np.argmin(is_flat)) if not is_flat.all() else most)
    return widths[0], widths[1], widths[2], widths[3]


def _fill(pixels: View, mask: Mask) -> View:
    if not mask.any() or mask.all():
        return pixels
    return np.asarray(inpaint(pixels, mask, radius_px=_REACH_PX), np.uint8)


def _check_lungs(lungs: Mask) -> Mask | None:
    return lungs if _LUNG_SHARE[0] <= lungs.mean() <= _LUNG_SHARE[1] else None


def _read_quantization(file: FilmFile) -> Quantization | None:
    try:
        with Image.open(file.path) as image:
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                return tuple(image.quantization[0])
    except (OSError, UnidentifiedImageError, KeyError):  # DICOM, or a damaged table
        pass
    return None


def _describe_quantization(table: Quantization | None) -> Features:
    return np.array([0.0, 0.0] if table is None else [1.0, np.log(np.mean(table))])


def _corners(side: int) -> Mask:
    depth = max(1, round(side * _CORNER_SHARE))
    is_end = np.zeros(side, np.bool_)
    is_end[:depth] = is_end[-depth:] = True
    return is_end[:, None] & is_end[None, :]


def _border(side: int, *margins: tuple[int, int, int, int]) -> Mask:
    depth = max(1, round(side * BORDER_SHARE))
    top, bottom, left, right = (max(depth, *ends) for ends in zip(*margins, strict=True))
    mask = np.ones((side, side), np.bool_)
    mask[top : side - bottom, left : side - right] = False
    return mask


def _both_lungs(pair: Exchange) -> Mask:
    if pair.own.lungs is None or pair.donor.lungs is None:
        raise InputContractError("the lungs of a film were not found; nothing can be exchanged")
    both: Mask = pair.own.lungs | pair.donor.lungs
    return both


def _add(view: View, having: View, lacking: View) -> View:
    """Return a view with what one view has more than another."""
    total = view.astype(np.int16) + having.astype(np.int16) - lacking.astype(np.int16)
    return total.clip(0, 255).astype(np.uint8)


def _give_text(pair: Exchange) -> View:
    return _add(pair.own.text_free, pair.donor.view, pair.donor.text_free)


def _give_marks(pair: Exchange) -> View:
    # The film keeps its text: what the text added to the view is added again.
    bare = _add(pair.own.mark_free, pair.own.view, pair.own.text_free)
    return _add(bare, pair.donor.text_free, pair.donor.mark_free)


def _give_border(pair: Exchange) -> View:
    mask = _border(len(pair.own.view), pair.own.margins, pair.donor.margins)
    return blend(pair.own.view, pair.donor.text_free, mask)


def _give_corners(pair: Exchange) -> View:
    return blend(pair.own.view, pair.donor.text_free, _corners(len(pair.own.view)))


def _give_lungs(pair: Exchange) -> View:
    return blend(pair.own.view, pair.donor.text_free, _both_lungs(pair))


def _give_outside(pair: Exchange) -> View:
    return blend(pair.own.view, pair.donor.view, ~_both_lungs(pair))


def _give_size(pair: Exchange) -> View:
    geometry = compute_geometry(pair.film.shape[1], pair.film.shape[0], pair.spec)
    return resample(pair.film, geometry, pair.donor.side_px)


def _give_quantization(pair: Exchange) -> View:
    if pair.donor.quantization is None:
        return pair.own.view
    return render_view(recompress(pair.film, pair.donor.quantization), pair.spec)


def _give_levels(pair: Exchange) -> View:
    return render_view(limit_levels(pair.film, pair.donor.n_levels), pair.spec)


def _give_histogram(pair: Exchange) -> View:
    return match_histogram(pair.own.view, pair.donor.view)


def _give_spectrum(pair: Exchange) -> View:
    return match_spectrum(pair.own.view, pair.donor.view)


ATTRIBUTES = Catalog(
    "audit.attributes",
    {
        "source": Attribute("source", "the public data set; nothing to exchange by itself"),
        "text": Attribute("text", "the donor's text on the film without its own", _give_text),
        "marks": Attribute(
            "marks without letters",
            "the donor's arrows, electrodes and clips on the film without its own",
            _give_marks,
        ),
        "border": Attribute(
            "border and collimation",
            "the outermost sixteenth of the view and flat margins, without text",
            _give_border,
        ),
        "corners": Attribute(
            "corners", "four squares of 3/16 of the view's side, without text", _give_corners
        ),
        "size": Attribute("film size", "the film resampled to the donor's pixels", _give_size),
        "jpeg": Attribute(
            "JPEG quality", "the film compressed with the donor's table", _give_quantization
        ),
        "bit_depth": Attribute("bit depth", "as few gray values as the donor has", _give_levels),
        "histogram": Attribute(
            "gray-level histogram", "the donor's share of each gray value", _give_histogram
        ),
        "sharpness": Attribute(
            "sharpness and noise",
            "the donor's power at each spatial frequency",
            _give_spectrum,
        ),
        "outside_lungs": Attribute(
            "all outside the lungs",
            "all but the two films' lungs",
            _give_outside,
            is_whole=True,
            needs_lungs=True,
        ),
        "lungs": Attribute(
            "lungs", "the two films' lungs", _give_lungs, is_whole=True, needs_lungs=True
        ),
    },
)
"""In the order of tables; the parts first, then what holds several of them."""

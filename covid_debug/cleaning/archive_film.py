"""Cleans one film's file into a file of the same kind.

Owns what happens to a file: search, mask as shown, fill as stored, write, read back. Which files
there are belongs to :mod:`covid_debug.cleaning.archive`.
"""

import dataclasses
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.film import (
    Action,
    CleanedFilm,
    CleaningParams,
    RegionRecord,
    clean_film,
    fill_text,
)
from covid_debug.cleaning.hidden import find_hidden, mask_hidden
from covid_debug.cleaning.markers import MarkerPlace, draw_marker
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.imaging.colour import INK, read_tint
from covid_debug.imaging.dicom import DicomFilm
from covid_debug.imaging.dicom_files import is_dicom
from covid_debug.imaging.dicom_header import Overlays
from covid_debug.imaging.inpainting import TRANSPLANT
from covid_debug.imaging.jpeg import Table, read_quantisation, requantise
from covid_debug.imaging.pictures import JpegOutput, PictureFilm
from covid_debug.imaging.reading import (
    FILM_OR_MODEL_ERRORS,
    FilmImage,
    read_film,
)
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.imaging.stored import Derivation, Planes, StoredFilm, count_outside
from covid_debug.ranges import check_choices
from covid_debug.records import Box, Point, RegionKind
from covid_debug.text.finder import Finder

Outcome = Literal["cleaned", "copied", "refused"]
Mask = NDArray[np.bool_]

_HARMLESS: Final[frozenset[RegionKind]] = frozenset(
    {"side_marker", "position", "panel", "annotation"}
)
_FILLED: Final[frozenset[Action]] = frozenset({"removed", "replaced"})
DRAFT_SUFFIX: Final = ".partial"
"""Of a hidden file that is being written, or was when its writer was killed."""
_INK_REACH_PX: Final = 2  # what a coloured letter blends into around it


@dataclass(frozen=True, slots=True)
class ArchiveParams:
    """How the films of an archive are cleaned.

    Attributes:
        cleaning: How text is masked and filled.
        overlays: What is done where a DICOM overlay plane shows something: the film is not cleaned
            (``"refuse"``), or its planes go (``"clear"``) or stay (``"keep"``).
        jpeg: What becomes of a JPEG file that is cleaned: ``"jpeg"`` with its own tables, which
            moves some other pixels by a few levels, or ``"png"``, which moves none.
    """

    cleaning: CleaningParams = field(default_factory=CleaningParams)
    overlays: Overlays = "refuse"
    jpeg: JpegOutput = "jpeg"

    def __post_init__(self) -> None:
        """Check the names."""
        check_choices(self)


@dataclass(frozen=True, slots=True)
class ArchiveJob:
    """One file.

    Attributes:
        name: Name in the manifest: the path below the given folder, printable.
        source: The file.
        target: File to write, were its suffix to stay.
    """

    name: str
    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class ArchiveRegion:
    """A piece of text and what was done to it; coordinates in pixels of the film as shown.

    Attributes:
        box: ``(x_min, y_min, x_max, y_max)``.
        polygon: Corner points ``(x, y)``.
        kind: What the text is.
        content: Recognised characters, or None; None of every kind that may name a person, because
            the manifest lies beside films that no longer say it.
        confidence: Detector's confidence in [0, 1].
        detector: What saw it.
        action: What was done to it.
        is_incomplete: Whether ink goes on outside the mask, further than it was followed.
    """

    box: Box
    polygon: tuple[Point, ...]
    kind: RegionKind
    content: str | None
    confidence: float
    detector: str
    action: Action
    is_incomplete: bool = False


@dataclass(frozen=True, slots=True)
class ArchiveFilm:
    """One line of an archive's manifest.

    Attributes:
        film: Path of the input below the given folder.
        outcome: ``"cleaned"``; ``"copied"`` byte for byte, because nothing was to be removed; or
            ``"refused"``: nothing was written.
        reason: Why it was refused, ``""`` otherwise.
        output: Path of the output below the output folder, ``""`` where there is none.
        width: Columns of the film as shown; 0 where it could not be read.
        height: Rows of the film as shown.
        regions: Text that was found.
        coding: How the input is coded, ``""`` where it was not decoded for writing.
        coding_out: How the output is coded.
        sha256: Hash of the input file.
        sha256_out: Hash of the output file.
        uid: DICOM: SOP Instance UID of the input.
        uid_out: DICOM: SOP Instance UID of the output.
        n_masked: Pixels that cleaning was allowed to write.
        n_changed: Pixels whose stored value differs.
        n_changed_outside: Those of them outside the mask, read back from the output: 0 for all
            but JPEG files.
        max_change_outside: The largest difference there, in gray levels.
        warnings: What a person should look at.
    """

    film: str
    outcome: Outcome
    reason: str = ""
    output: str = ""
    width: int = 0
    height: int = 0
    regions: tuple[ArchiveRegion, ...] = ()
    coding: str = ""
    coding_out: str = ""
    sha256: str = ""
    sha256_out: str = ""
    uid: str = ""
    uid_out: str = ""
    n_masked: int = 0
    n_changed: int = 0
    n_changed_outside: int = 0
    max_change_outside: int = 0
    warnings: tuple[str, ...] = ()


def clean_file(job: ArchiveJob, out: Path, finder: Finder, params: ArchiveParams) -> ArchiveFilm:
    """Clean one file.

    Args:
        job: What is read and written.
        out: Folder of all outputs.
        finder: Finds the text.
        params: How to clean.

    Returns:
        Its line of the manifest; a film that cannot be read or cleaned is refused.

    Raises:
        ArtifactError: If the output cannot be written.
    """
    try:
        return _clean(job, out, finder, params)
    except FILM_OR_MODEL_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return ArchiveFilm(job.name, "refused", reason=reason)


def _clean(job: ArchiveJob, out: Path, finder: Finder, params: ArchiveParams) -> ArchiveFilm:
    image = read_film(job.source)
    data = job.source.read_bytes()
    height, width = image.pixels.shape
    tint = read_tint(job.source)
    dicom = (
        DicomFilm(data, str(job.source), overlays=params.overlays) if is_dicom(job.source) else None
    )
    found = finder.find(image, tint)
    hidden = () if dicom is None else find_hidden(dicom.planes, image, finder, found)
    found = (*found, *hidden)
    table = read_quantisation(job.source) if params.cleaning.method == TRANSPLANT else None
    cleaned = clean_film(image.pixels, found, params.cleaning, table=table)
    is_cut = any(one.is_incomplete for one in cleaned.records)
    film = ArchiveFilm(
        job.name,
        "copied",
        output=_place(job.target, out),
        width=width,
        height=height,
        regions=tuple(_describe(one) for one in cleaned.records),
        sha256=image.sha256,
        sha256_out=image.sha256,
        warnings=(
            *(["ink goes on outside a mask"] if is_cut else []),
            *_warn_of_side(cleaned.marker),
        ),
    )
    unseen = mask_hidden(hidden, cleaned, params.cleaning)
    clears = dicom is not None and dicom.clears_overlays
    is_touched = clears or bool((cleaned.mask | unseen).any())
    if dicom is not None:
        film = dataclasses.replace(
            film,
            warnings=(*film.warnings, *_warn(dicom, is_cleaned=is_touched)),
            coding=dicom.coding,
            coding_out=dicom.coding,
            uid=dicom.uid,
            uid_out=dicom.uid,
        )
    if not is_touched:
        _write(job.target, data)
        return film

    stored: StoredFilm = dicom or PictureFilm(data, str(job.source), jpeg=params.jpeg)
    mask = cleaned.mask | unseen | _mask_ink(tint, cleaned.records, params.cleaning)
    planes = _fill(stored, image, cleaned, mask, params.cleaning, table)
    derivation = Derivation(
        _say(cleaned),
        is_clean=all(map(_is_settled, film.regions)),
        overlays_cleared=clears,
    )
    content = stored.encode(planes, derivation)
    target = job.target.with_suffix(stored.suffix) if stored.suffix else job.target
    written = (
        DicomFilm(content, str(target), overlays="keep")
        if dicom
        else PictureFilm(content, str(target))
    )
    is_allowed = stored.turn(mask)
    n_outside, largest = count_outside(stored.planes, written.planes, is_allowed)
    if stored.is_exact and not np.array_equal(written.planes, planes):
        raise DataIntegrityError(
            f"{job.source}: read back, {stored.coding_out} holds other pixels than were written;"
            " convert the film"
        )
    _write(target, content)
    return dataclasses.replace(
        film,
        outcome="cleaned",
        output=_place(target, out),
        coding=stored.coding,
        coding_out=stored.coding_out,
        sha256_out=hashlib.sha256(content).hexdigest(),
        uid_out=written.uid if isinstance(written, DicomFilm) else "",
        n_masked=int(np.count_nonzero(is_allowed)),
        n_changed=int(np.count_nonzero((written.planes != stored.planes).any(axis=2))),
        n_changed_outside=n_outside,
        max_change_outside=largest,
    )


def _place(target: Path, out: Path) -> str:
    return target.relative_to(out).as_posix()


def _describe(record: RegionRecord) -> ArchiveRegion:
    region = record.region
    return ArchiveRegion(
        tuple(round(value, 2) for value in region.box),  # type: ignore[arg-type]
        tuple((round(x, 2), round(y, 2)) for x, y in region.polygon),
        region.kind,
        region.content if region.kind in _HARMLESS else None,
        round(region.confidence, 4),
        region.detector,
        record.action,
        record.is_incomplete,
    )


def _is_settled(region: ArchiveRegion) -> bool:
    """Whether nothing of a region is left that could name somebody."""
    return region.kind in _HARMLESS or not (region.action == "kept" or region.is_incomplete)


def _warn_of_side(marker: MarkerPlace | None) -> tuple[str, ...]:
    if marker is None or not marker.is_assumed:
        return ()
    return (f"R drawn on the {marker.side} by convention: the side was not read from the film",)


def _warn(dicom: DicomFilm, *, is_cleaned: bool) -> tuple[str, ...]:
    warnings = []
    if dicom.says_text and not is_cleaned:
        warnings.append("its header says that annotation is burned in, and none was found")
    if dicom.shows_overlays and not dicom.clears_overlays:
        warnings.append("an overlay plane stays")
    return tuple(warnings)


def _say(cleaned: CleanedFilm) -> str:
    counts = {
        "replaced by its surroundings": "removed",
        "replaced by a uniform marker": "replaced",
        "kept": "kept",
    }
    parts = []
    for words, action in counts.items():
        n_regions = sum(one.action == action for one in cleaned.records)
        if n_regions:
            parts.append(f"{n_regions} regions of burned-in text {words}")
    if cleaned.marker is not None:
        parts.append("a uniform marker drawn")
    said = ", ".join(parts) or "overlay planes cleared"
    return f"covid_debug: {said}; all other pixels unchanged"


def _mask_ink(
    tint: NDArray[np.uint8] | None, records: Sequence[RegionRecord], params: CleaningParams
) -> Mask:
    """Return the coloured ink of what is filled, which gray may not tell from the film."""
    filled = [one.region for one in records if one.action in _FILLED]
    if tint is None or not filled:
        return np.zeros((1, 1), np.bool_)
    height, width = tint.shape
    reach = params.growth_on(tint.shape)
    inside = regions_to_mask(filled, width, height, dilation_px=reach)
    ink = ((tint >= INK) & inside).astype(np.uint8)
    side = 2 * max(reach, _INK_REACH_PX) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    kept = [one.region for one in records if one.action == "kept"]
    return np.asarray(cv2.dilate(ink, kernel), np.bool_) & ~regions_to_mask(kept, width, height)


def _fill(
    stored: StoredFilm,
    image: FilmImage,
    cleaned: CleanedFilm,
    shown_mask: Mask,
    params: CleaningParams,
    table: Table | None,
) -> Planes:
    """Fill the stored channels where the film as shown is masked."""
    mask = stored.turn(shown_mask)
    planes = stored.planes
    is_as_shown = planes.shape[2] == 1 and np.array_equal(planes[..., 0], image.pixels)
    if is_as_shown and np.array_equal(shown_mask, cleaned.mask):
        return np.minimum(cleaned.pixels, stored.top)[..., None]
    height, width = shown_mask.shape
    written = [one.region for one in cleaned.records]
    avoid = stored.turn(
        regions_to_mask(written, width, height, dilation_px=params.growth_on((height, width)))
    )
    filled: Planes = planes.copy()
    for at in range(planes.shape[2]):
        plane = fill_text(planes[..., at].copy(), mask, params, avoid)
        if table is not None and plane.dtype == np.uint8:
            plane = requantise(plane, mask, table)  # gray in colours: each channel is the luma
        filled[..., at] = np.minimum(plane, stored.top)
    return filled if cleaned.marker is None else _draw(filled, stored, image, cleaned.marker)


def _draw(filled: Planes, stored: StoredFilm, image: FilmImage, marker: MarkerPlace) -> Planes:
    """Lay the uniform marker on, in the stored values that are shown black and white."""
    shape = image.pixels.shape
    letter = draw_marker(np.zeros(shape, np.uint8), marker) > 0
    rim = draw_marker(np.full(shape, 255, np.uint8), marker) == 0
    for where, place in ((rim, image.pixels.argmin()), (letter, image.pixels.argmax())):
        at = np.zeros(shape, np.bool_)
        at[np.unravel_index(place, shape)] = True
        filled[stored.turn(where)] = stored.planes[stored.turn(at)][0]
    return filled


def _write(target: Path, content: bytes) -> None:
    # A name for each writer, as two shards may hold one film; never too long a one.
    draft = target.with_name(f".{uuid.uuid4().hex}{DRAFT_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ArtifactError(
            f"{target}: cannot be written ({error.strerror}); finished films are kept; make room"
            " or name another folder, and start again to go on"
        ) from error

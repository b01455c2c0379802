"""Text regions as pixel masks and as ``regions.jsonl``.

Finding the regions belongs to :mod:`covid_debug.text`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from covid_debug.artifacts import write_text_atomic
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.damage import tell_reason
from covid_debug.records import REGION_KINDS, FilmRegions, TextRegion
from covid_debug.records_json import parse_json

REGIONS_NAME = "regions.jsonl"
_SUBPIXEL_BITS = 6
_MAX_COORDINATE = 1_000_000  # larger ones would overflow where polygons are drawn


def regions_to_mask(
    regions: Sequence[TextRegion], width: int, height: int, *, dilation_px: int = 0
) -> npt.NDArray[np.bool_]:
    """Draw the regions on the film.

    Args:
        regions: Polygons in film pixels; parts outside the film are cut off.
        width: Film width in pixels.
        height: Film height in pixels.
        dilation_px: Radius in film pixels by which every region grows, >= 0.

    Returns:
        ``(H, W)`` bool, True inside a region; all False without regions.

    Raises:
        InputContractError: If ``dilation_px`` is negative.
    """
    if dilation_px < 0:
        raise InputContractError(
            f"regions_to_mask: dilation_px is {dilation_px}; expected 0 or more pixels"
        )
    canvas = draw_outlines([region.polygon for region in regions], width, height)
    if dilation_px and canvas.any():
        side = 2 * dilation_px + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        canvas = np.asarray(cv2.dilate(canvas.astype(np.uint8), kernel), np.bool_)
    return canvas


def draw_outlines(
    outlines: Sequence[Sequence[tuple[float, float]]], width: int, height: int
) -> npt.NDArray[np.bool_]:
    """Return ``(H, W)`` bool, True inside closed outlines in film pixels."""
    canvas = np.zeros((height, width), np.uint8)
    for outline in outlines:
        _fill(canvas, outline)
    return canvas.astype(np.bool_)


def _fill(canvas: npt.NDArray[np.uint8], polygon: Sequence[tuple[float, float]]) -> None:
    corners = np.asarray(polygon, np.float64)
    low, high = corners.min(axis=0), corners.max(axis=0)
    is_box = bool(np.all((corners == low) | (corners == high)))
    if is_box or np.any(high - low < 1.0):
        (x0, y0), (x1, y1) = np.floor(low).astype(int), np.ceil(high).astype(int)
        canvas[max(y0, 0) : max(y1, y0 + 1, 0), max(x0, 0) : max(x1, x0 + 1, 0)] = 1
        return
    # OpenCV puts integer coordinates on pixel centres; ours start at the pixel's corner.
    fixed_point = np.rint((corners - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed_point], 1, shift=_SUBPIXEL_BITS)


def write_regions(path: Path, films: Iterable[FilmRegions]) -> None:
    """Write ``regions.jsonl``, one line a film, whole or not at all."""
    lines = [json.dumps(to_line(film), ensure_ascii=False, allow_nan=False) for film in films]
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def read_regions(place: Path) -> dict[str, FilmRegions]:
    """Read the text regions of an artifact, or of a file that detect-text wrote.

    Args:
        place: Folder of kind ``"regions"``, or a file of JSON lines; unknown keys are ignored.

    Returns:
        Image id (or path) -> regions, in the order of the file.

    Raises:
        DataIntegrityError: If the file is missing, a line is not a valid record or a film appears
            twice.
    """
    path = place / REGIONS_NAME if place.is_dir() else place
    return {film.image: film for film in iter_regions(path)}


def iter_regions(path: Path) -> Iterator[FilmRegions]:
    """Read ``regions.jsonl`` film by film.

    Args:
        path: The file; unknown keys are ignored.

    Yields:
        One record a line.

    Raises:
        DataIntegrityError: If the file is missing, a line is not a valid record or a film appears
            twice.
    """
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                film = _parse_line(line, f"{path}:{number}")
                if film.image in seen:
                    raise DataIntegrityError(
                        f"{path}:{number}: film {film.image!r} appears twice; expected one line a"
                        " film"
                    )
                seen.add(film.image)
                yield film
    except (OSError, UnicodeDecodeError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read; expected a regions.jsonl made by detect-text"
        ) from error


def _parse_line(line: str, where: str) -> FilmRegions:
    try:
        return from_line(parse_json(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataIntegrityError(
            f"{where}: is not a film's regions ({tell_reason(error)}); expected image, width,"
            " height and regions or error; run detect-text again"
        ) from error


def to_line(film: FilmRegions) -> dict[str, Any]:
    """Return the line of a film as plain values."""
    record: dict[str, Any] = {"image": film.image, "width": film.width, "height": film.height}
    if film.error is not None:
        return {**record, "error": film.error}
    record["regions"] = [_region_to_record(region) for region in film.regions]
    if film.rejected:
        record["rejected"] = [
            {**_region_to_record(region), "reason": reason} for region, reason in film.rejected
        ]
    return record


def _region_to_record(region: TextRegion) -> dict[str, Any]:
    return {
        "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in region.polygon],
        "confidence": round(float(region.confidence), 4),
        "content": region.content,
        "detector": region.detector,
        "kind": region.kind,
    }


def from_line(record: Mapping[str, Any]) -> FilmRegions:
    """Return the regions of a film from the values of its line.

    Raises:
        KeyError: If there are no regions and no error; TypeError or ValueError likewise where a
            value is none of its kind.
    """
    if "error" not in record and "regions" not in record:
        raise KeyError("regions")
    return FilmRegions(
        image=str(record["image"]),
        width=int(record.get("width", 0)),
        height=int(record.get("height", 0)),
        regions=tuple(_region_from_record(item) for item in record.get("regions", ())),
        error=None if record.get("error") is None else str(record["error"]),
        rejected=tuple(
            (_region_from_record(item), str(item["reason"])) for item in record.get("rejected", ())
        ),
    )


def _region_from_record(item: Mapping[str, Any]) -> TextRegion:
    polygon = tuple((float(x), float(y)) for x, y in item["polygon"])
    is_near = all(abs(value) <= _MAX_COORDINATE for point in polygon for value in point)
    if len(polygon) < 3 or not is_near:
        raise ValueError(f"polygon lacks 3 corners or leaves +-{_MAX_COORDINATE} pixels")
    kind = item.get("kind", "unknown")  # absent in files of older versions
    if kind not in REGION_KINDS:
        raise ValueError(f"kind {kind!r}; expected one of {', '.join(REGION_KINDS)}")
    confidence, content = float(item["confidence"]), item.get("content")
    if not 0 <= confidence <= 1 or not isinstance(content, str | None):
        raise ValueError(f"confidence {confidence} or content {content!r}")
    return TextRegion(polygon, confidence, content, str(item.get("detector", "")), kind)

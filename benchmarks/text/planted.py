"""`covid-debug bench planted`: letters and words set on text-free films.

Real boxes of low contrast on bright tissue are few; planted ones can be counted. The glyphs are
OpenCV's strokes and DejaVu, brightness is added as lead absorbs, on the brighter half of the film.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.tables import to_markdown, write_csv
from benchmarks.text.annotated import load_annotations
from benchmarks.text.scoring import MIN_COVERAGE, measure_coverage
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Box
from covid_debug.text.base import Gray, RegionDetector
from covid_debug.text.catalog import build_detector

SIZES = (0.03, 0.05, 0.08)  # cap height over the film's height
CONTRASTS = (15, 25, 40, 60)  # gray levels
TEXTS = ("R", "L", "D", "PORTABLE", "AP ERECT", "12.03.2020")
_BRIGHT_LEVEL = 110  # median of the place, at least
_MOST_LEVEL = 225  # bright ink needs room above
_TRIES = 60


@dataclass(frozen=True, slots=True)
class PlantedScore:
    """A planted text: its size as a share of the film's height, contrast, whether it was found."""

    text: str
    size: float
    contrast: int
    is_found: bool


def score_planted(
    films: Sequence[Gray], detector: RegionDetector, *, seed: int = 0
) -> list[PlantedScore]:
    """Set every size and contrast once on every film and look whether it is found.

    Args:
        films: Text-free films, ``(H, W)`` uint8.
        detector: A text detector.
        seed: Draws texts and places.

    Returns:
        One score for each text that found a place bright enough.
    """
    scores = []
    for index, film in enumerate(films):
        for size in SIZES:
            for contrast in CONTRASTS:
                rng = np.random.default_rng((seed, index, round(1000 * size), contrast))
                text = str(rng.choice(TEXTS))
                planted = plant_text(film, text, size, contrast, rng)
                if planted is None:
                    continue
                pixels, box = planted
                regions = [region for region in detector.detect([pixels])[0] if region.is_text]
                height, width = film.shape
                coverage = measure_coverage(regions_to_mask(regions, width, height), box)
                scores.append(PlantedScore(text, size, contrast, coverage >= MIN_COVERAGE))
    return scores


def plant_text(
    film: Gray, text: str, size: float, contrast: int, rng: np.random.Generator
) -> tuple[Gray, Box] | None:
    """Return the film with a text on bright tissue, and its box; None without such a place."""
    ink = _draw(text, max(5, round(size * film.shape[0])))
    height, width = ink.shape
    if height + 4 >= film.shape[0] or width + 4 >= film.shape[1]:
        return None
    for _ in range(_TRIES):
        x = int(rng.integers(2, film.shape[1] - width - 2))
        y = int(rng.integers(2, film.shape[0] - height - 2))
        place = film[y : y + height, x : x + width]
        if _BRIGHT_LEVEL <= float(np.median(place)) <= _MOST_LEVEL - contrast / 2:
            break
    else:
        return None
    pixels = film.astype(np.float32)
    pixels[y : y + height, x : x + width] += contrast * ink
    box = (float(x), float(y), float(x + width), float(y + height))
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8), box


def _draw(text: str, cap_px: int) -> NDArray[np.float32]:
    """Return the ink of a text in [0, 1], cut to its glyphs."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    face = ImageFont.truetype(str(path), max(6, round(cap_px / 0.73)))
    left, top, right, bottom = face.getbbox(text)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, fill=255, font=face)
    ink = cv2.GaussianBlur(np.asarray(image, np.float32) / np.float32(255), (0, 0), 0.6)
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.2), np.flatnonzero(ink.max(axis=0) > 0.2)
    return np.asarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], np.float32)


def describe_planted(scores: Sequence[PlantedScore]) -> str:
    """Write the shares found as a Markdown table, sizes down, contrasts across."""

    def cell(chosen: Sequence[PlantedScore]) -> str:
        n_found = sum(score.is_found for score in chosen)
        return f"{n_found}/{len(chosen)}" if chosen else "-"

    rows = []
    for name, group in (("letters", True), ("words and dates", False)):
        own = [score for score in scores if (len(score.text) == 1) == group]
        for size in SIZES:
            sized = [score for score in own if score.size == size]
            cells = {
                f"contrast {contrast}": cell([s for s in sized if s.contrast == contrast])
                for contrast in CONTRASTS
            }
            rows.append(
                {"planted": f"{name}, {size:.0%} of the height", **cells, "all": cell(sized)}
            )
    return to_markdown(rows)


def bench_planted(
    annotations: Path, sources: Path, out: Path, detectors: Sequence[str] = ("default",)
) -> str:
    """Measure detectors on texts set on the text-free films of an annotated set.

    Args:
        annotations: File of boxes; films without a box are used.
        sources: Folder that the film paths in it are relative to.
        out: Folder for ``planted.csv``.
        detectors: Names in the catalogue.

    Returns:
        A Markdown table for each detector.

    Raises:
        DataIntegrityError: If no film is free of text, or one cannot be read.
    """
    free = [film for film in load_annotations(annotations) if not film.boxes]
    if not free:
        raise DataIntegrityError(f"{annotations}: no film without a box; expected some")
    films = [read_film(sources / film.path).to_uint8() for film in free]
    out.mkdir(parents=True, exist_ok=True)
    parts, rows = [], []
    for name in detectors:
        scores = score_planted(films, build_detector(name))
        rows += [{"detector": name, **asdict(score)} for score in scores]
        parts.append(f"{name}, {len(films)} films\n\n{describe_planted(scores)}")
    write_csv(out / "planted.csv", ("detector", "text", "size", "contrast", "is_found"), rows)
    return "\n".join(parts)

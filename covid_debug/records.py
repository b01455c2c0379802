"""The nouns of the project: films, text regions and flags.

Plain frozen records that travel between stages; no file access and no numerics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Severity = Literal["info", "warning", "critical"]
Point = tuple[float, float]
RegionKind = Literal[
    "side_marker",
    "position",
    "date",
    "panel",
    "identity",
    "measurement",
    "annotation",
    "unknown",
]
REGION_KINDS: tuple[RegionKind, ...] = get_args(RegionKind)
TEXT_KINDS: tuple[RegionKind, ...] = tuple(kind for kind in REGION_KINDS if kind != "annotation")
Box = tuple[float, float, float, float]
"""``(x_min, y_min, x_max, y_max)``."""


def name_absence(finding: str) -> str:
    """Return the class of films without a finding, where one of several is asked about."""
    return f"no {finding}"


@dataclass(frozen=True, slots=True)
class Film:
    """One radiograph of a data set.

    Attributes:
        image_id: First 16 hex digits of the SHA-256 of the *original* file. A cleaned copy keeps
            the id of the film that it was made from, so that arms can be paired film by film.
        path: Path of the file, relative to the data set's folder or absolute.
        patient_id: Patient, unique over sources (``"<source>:<id as published>"``).
        label: Class name, one of the data set's ``class_names``.
        source: Public data set that the film comes from, e.g. ``"cohen"``.
        view: Projection as published (``"PA"``, ``"AP"``, ...), ``""`` where unknown.
        split: ``"train"``, ``"val"`` or ``"test"``.
        width: Width of the original film in pixels.
        height: Height of the original film in pixels.
        sha256: Hash of the bytes of the file at ``path``, 64 hex digits.
        window_low: Gray value of the original film that is shown black. A copy keeps the window,
            so that what cleaning does to the extremes does not change the rest of the view.
        window_high: Gray value that is shown white; 0 and 255 for 8-bit films.
    """

    image_id: str
    path: str
    patient_id: str
    label: str
    source: str
    view: str
    split: Split
    width: int
    height: int
    sha256: str
    window_low: int
    window_high: int


@dataclass(frozen=True, slots=True)
class UnusableFilm:
    """A film that was asked for and cannot be used, with the reason in one sentence."""

    path: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class TextRegion:
    """A piece of burned-in text.

    Attributes:
        polygon: Corner points ``(x, y)`` in pixels of the original film; ``x`` to the right,
            ``y`` downwards, pixel ``i`` covers ``[i, i+1)``.
        confidence: Detector's confidence in [0, 1].
        content: Recognised characters, or None where the detector does not read.
        detector: Catalogue name of the detector that saw it.
        kind: What the region is: of text what the content says, ``"position"`` with exposure and
            ``"identity"`` with any long number; ``"annotation"`` is an arrow, circle or line of a
            human hand and no text; ``"unknown"`` is text whose kind is not known.
    """

    polygon: tuple[Point, ...]
    confidence: float
    content: str | None
    detector: str
    kind: RegionKind = "unknown"

    @property
    def is_text(self) -> bool:
        """Whether it is text; an annotation is none."""
        return self.kind in TEXT_KINDS

    @property
    def box(self) -> Box:
        """Axis-aligned bounds ``(x_min, y_min, x_max, y_max)`` in film pixels."""
        xs = [x for x, _ in self.polygon]
        ys = [y for _, y in self.polygon]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True, slots=True)
class FilmRegions:
    """Text regions of one film, or the reason why the film could not be read.

    Attributes:
        image: ``image_id`` of the film, or its path where there is no data set.
        width: Film width in pixels; 0 when the film could not be read.
        height: Film height in pixels; 0 when the film could not be read.
        regions: What was found; empty when the film has no text.
        error: None, or why the film could not be read.
        rejected: Detections that were dropped, each with a recorded reason.
    """

    image: str
    width: int
    height: int
    regions: tuple[TextRegion, ...]
    error: str | None = None
    rejected: tuple[tuple[TextRegion, str], ...] = ()

    @property
    def texts(self) -> tuple[TextRegion, ...]:
        """The regions that are text."""
        return tuple(region for region in self.regions if region.is_text)


@dataclass(frozen=True, slots=True)
class Flag:
    """One finding about a film or a data set, with the numbers that support it."""

    rule: str
    severity: Severity
    message: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)

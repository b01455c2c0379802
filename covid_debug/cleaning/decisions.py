"""What reviewers say about detected regions, and its effect on the next build.

Owns the decisions file and its application to regions. Verdicts about predictions are reviewed in
the report and change no pixel.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.boxes import intersection_over_union, to_polygon
from covid_debug.imaging.damage import tell_reason
from covid_debug.records import Box, FilmRegions, TextRegion
from covid_debug.records_json import parse_json

FILM_ANSWERS: Final = ("accept", "reject", "unsure")
"""What a reviewer may say of a film's verdict."""

_DECISIONS: Final = ("accept", "reject", "keep", "add", "unsure")
_REVIEWER_DETECTOR: Final = "reviewer"
_MIN_OVERLAP: Final = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of a decisions file.

    Attributes:
        image_id: Film.
        decision: ``"accept"`` (it is text: clean it), ``"reject"`` (it is not: leave it),
            ``"keep"`` (it is text, and stays), ``"add"`` (text that no detector saw; needs
            ``box``) or ``"unsure"`` (cleaned like every other region).
        reviewer: Who decided.
        region_index: Place of the region in the film's list, or None.
        box: ``(x_min, y_min, x_max, y_max)`` in film pixels, or None. The region meant is the one
            that overlaps it most, at least by half; a region named by its place must overlap it
            so too.
        note: Free text.

    A line with neither ``region_index`` nor ``box`` is about the film's verdict; it is kept with
    the build and changes nothing.
    """

    image_id: str
    decision: str
    reviewer: str
    region_index: int | None = None
    box: Box | None = None
    note: str = ""

    @property
    def is_about_region(self) -> bool:
        """Return whether the line names a region."""
        return self.region_index is not None or self.box is not None

    @property
    def subject(self) -> str:
        """Return the key of the film or region that it is about, as the report's script makes it.

        One of ``"<image id>"``, ``"<image id>#<place of the region>"``, ``"<image id>#box:<box>"``.
        """
        if self.region_index is not None:
            return f"{self.image_id}#{self.region_index}"
        if self.box is not None:
            return f"{self.image_id}#box:{','.join(f'{value:g}' for value in self.box)}"
        return self.image_id


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Read a decisions file: JSON lines with at least ``image_id`` and ``decision``.

    Args:
        path: The file; empty lines are skipped, unknown keys ignored.

    Returns:
        The decisions in the order of the file.

    Raises:
        DataIntegrityError: If the file or one of its lines is not readable.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a note may hold other separators
    except FileNotFoundError as error:
        raise DataIntegrityError(
            f"{path}: no such file; save the decisions from a report; a proof that finds nothing"
            " writes none"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read; expected the decisions saved from a report"
        ) from error
    decisions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            decisions.append(_parse(parse_json(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataIntegrityError(
                f"{path}:{number}: is not a decision ({tell_reason(error)}); expected image_id,"
                f" decision ({', '.join(_DECISIONS)}), reviewer and region_index or box"
            ) from error
    return tuple(decisions)


def render_decisions(decisions: Iterable[Decision]) -> str:
    """Return decisions as the text of a decisions file."""
    return "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in decisions)


def apply_decisions(
    regions: Mapping[str, FilmRegions], decisions: Sequence[Decision]
) -> dict[str, FilmRegions]:
    """Return the regions as the reviewers want them.

    Where several lines name the same region, the last one counts. A rejected or kept region moves
    to ``rejected`` with the reviewer's name as reason.

    Args:
        regions: Detected regions by ``image_id``.
        decisions: In the order in which they were taken.

    Returns:
        A new mapping with all films of ``regions``.

    Raises:
        DataIntegrityError: If a decision names a film or region that is not there, or adds a box
            to a film without readable regions.
    """
    rejections: dict[str, dict[int, str | None]] = {}
    additions: dict[str, list[TextRegion]] = {}
    for decision in decisions:
        if not decision.is_about_region:
            continue
        film = regions.get(decision.image_id)
        if film is None or film.error is not None:
            raise DataIntegrityError(
                f"decisions: film {decision.image_id!r} has no text regions; expected decisions "
                "about this data set; detect text again or take the line out"
            )
        if decision.decision == "add":
            additions.setdefault(film.image, []).append(_to_region(decision))
            continue
        index = _find_region(film, decision)
        verb = {"reject": "rejected", "keep": "kept"}.get(decision.decision)
        reason = f"{verb} by {decision.reviewer or 'a reviewer'}" if verb else None
        rejections.setdefault(film.image, {})[index] = reason
    return {
        image_id: _revise(film, rejections.get(film.image, {}), additions.get(film.image, []))
        for image_id, film in regions.items()
    }


def count_disagreements(decisions: Iterable[Decision]) -> int:
    """Return the number of films and regions about which two reviewers said different things."""
    said: dict[str, dict[str, str]] = {}
    for line in decisions:
        said.setdefault(line.subject, {})[line.reviewer] = line.decision
    return sum(len(set(answers.values())) > 1 for answers in said.values())


def _parse(record: Mapping[str, Any]) -> Decision:
    box = None if record.get("box") is None else tuple(float(value) for value in record["box"])
    if box is not None and (
        len(box) != 4 or not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]
    ):
        raise ValueError(f"box is {list(box)}, expected x_min < x_max, y_min < y_max")
    index = record.get("region_index")
    if index is not None and (not isinstance(index, int) or index < 0):
        raise ValueError(f"region_index is {index!r}")
    if record["decision"] not in _DECISIONS:
        raise ValueError(f"decision is {record['decision']!r}")
    if record["decision"] == "add" and box is None:
        raise ValueError("decision add has no box")
    if record["decision"] == "keep" and box is None and index is None:
        raise ValueError("decision keep names no region")
    return Decision(
        str(record["image_id"]),
        str(record["decision"]),
        str(record.get("reviewer") or ""),
        index,
        None if box is None else (box[0], box[1], box[2], box[3]),
        str(record.get("note") or ""),
    )


def _to_region(decision: Decision) -> TextRegion:
    polygon = to_polygon(decision.box or (0.0, 0.0, 0.0, 0.0))
    return TextRegion(polygon, 1.0, None, _REVIEWER_DETECTOR)


def _find_region(film: FilmRegions, decision: Decision) -> int:
    index, box = decision.region_index, decision.box or (0.0, 0.0, 0.0, 0.0)
    overlaps = [intersection_over_union(box, region.box) for region in film.regions]
    if index is not None:
        if index >= len(film.regions):
            raise DataIntegrityError(
                f"decisions: film {film.image!r} has {len(film.regions)} regions, the decision is "
                f"about number {index}; expected decisions about these regions"
            )
        if decision.box is not None and overlaps[index] < _MIN_OVERLAP:
            raise DataIntegrityError(
                f"decisions: region {index} of film {film.image!r} is not at box {list(box)}; "
                "expected decisions about these regions, not about another scan"
            )
        return index
    if not overlaps or max(overlaps) < _MIN_OVERLAP:
        raise DataIntegrityError(
            f"decisions: film {film.image!r} has no region at box {list(box)}; expected one that "
            "overlaps it by half; use decision 'add' for text that no detector saw"
        )
    return overlaps.index(max(overlaps))


def _revise(
    film: FilmRegions, reasons: Mapping[int, str | None], added: Sequence[TextRegion]
) -> FilmRegions:
    if not reasons and not added:
        return film
    kept = [region for index, region in enumerate(film.regions) if not reasons.get(index)]
    rejected = [
        (region, str(reasons[index]))
        for index, region in enumerate(film.regions)
        if reasons.get(index)
    ]
    return dataclasses.replace(film, regions=(*kept, *added), rejected=(*film.rejected, *rejected))

"""Is there text left? A second scan, by another detector, counted.

Owns the counting. The detector is whatever function the caller passes in.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from covid_debug.artifacts import read_manifest
from covid_debug.cleaning.decisions import Decision
from covid_debug.cleaning.provenance import FilmActions, read_actions
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.records import FilmRegions, Flag, TextRegion

Scan = Callable[[Sequence[tuple[str, Path]]], Iterable[FilmRegions]]

_WARN_ABOVE: Final = 0.02


@dataclass(frozen=True, slots=True)
class ResidualFilm:
    """A cleaned film on which the second detector sees text.

    Attributes:
        image_id: The film.
        label: Its class.
        n_in_filled: Regions that touch a cleaned region: the fill left something.
        n_elsewhere: Regions at other places: missed by the first detector, or a false alarm.
        boxes: ``(x_min, y_min, x_max, y_max)`` of all of them in film pixels.
    """

    image_id: str
    label: str
    n_in_filled: int
    n_elsewhere: int
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class ResidualScan:
    """What a second detector still sees on the cleaned films.

    Attributes:
        detector: Name of the second detector.
        is_independent: Whether it took no part in finding the regions that were cleaned.
        share: Share of films with residual text.
        share_in_filled: Share of films with residual text at a cleaned place.
        by_class: Class -> share of its films with residual text.
        n_failed: Films that the second detector could not scan.
        films: Films with residual text, in the order of the data set.
        flags: A warning when more than 2 % of the films have residual text, and one when the
            detector is not independent.
    """

    detector: str
    is_independent: bool
    share: Estimate
    share_in_filled: Estimate
    by_class: Mapping[str, Estimate]
    n_failed: int
    films: tuple[ResidualFilm, ...]
    flags: tuple[Flag, ...]

    def to_decisions(self) -> tuple[Decision, ...]:
        """Return the residual text as ``add`` decisions, for a review or a second build."""
        return tuple(
            Decision(film.image_id, "add", self.detector, box=box, note="second scan")
            for film in self.films
            for box in film.boxes
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "detector": self.detector,
            "is_independent": self.is_independent,
            "share": self.share.to_json(),
            "share_in_filled": self.share_in_filled.to_json(),
            "by_class": {name: value.to_json() for name, value in self.by_class.items()},
            "n_failed": self.n_failed,
            "films": [asdict(film) for film in self.films],
            "flags": [asdict(flag) for flag in self.flags],
        }


def scan_residual(cleaned: FilmSet, scan: Scan, detector: str) -> ResidualScan:
    """Look for text on cleaned films with another detector.

    Side markers that the policy kept or replaced are not residual: regions that touch a kept
    region, or lie where the uniform marker is drawn, are not counted.

    Args:
        cleaned: A cleaned data set.
        scan: Takes (image id, file) pairs and yields one record for each, e.g.
            :func:`covid_debug.text.scan.scan_films` with a detector bound.
        detector: Name of that detector.

    Returns:
        Counts with intervals, per class.

    Raises:
        InputContractError: If the scan leaves films out.
        DataIntegrityError: If ``cleaned`` was not made by cleaning.
    """
    actions = read_actions(cleaned.root)
    manifest = read_manifest(cleaned.root, kind="filmset")
    has_markers = manifest["parameters"].get("policy") == "replace"
    found = {
        film.image: film
        for film in scan([(film.image_id, cleaned.path_of(film)) for film in cleaned.films])
    }
    missing = [film.image_id for film in cleaned.films if film.image_id not in found]
    if missing:
        raise InputContractError(
            f"scan_residual: the scan left out {len(missing)} films (first: {missing[0]}); "
            "expected one record for each"
        )
    scanned = [film for film in cleaned.films if found[film.image_id].error is None]
    residual = []
    for film in scanned:
        done = actions[film.image_id]
        regions = [
            region
            for region in found[film.image_id].regions
            if not _is_wanted(region, done, has_markers=has_markers)
        ]
        n_in = sum(_touches_filled(region, done) for region in regions)
        if regions:
            boxes = tuple(region.box for region in regions)
            residual.append(
                ResidualFilm(film.image_id, film.label, n_in, len(regions) - n_in, boxes)
            )
    made_with = {
        name
        for film in actions.values()
        for region in film.found.regions
        for name in region.detector.split("+")  # a merged region names all that saw it
    }
    share = wilson_interval(len(residual), len(scanned))
    is_independent = detector not in made_with
    return ResidualScan(
        detector,
        is_independent,
        share,
        wilson_interval(sum(film.n_in_filled > 0 for film in residual), len(scanned)),
        {
            name: wilson_interval(
                sum(film.label == name for film in residual),
                sum(film.label == name for film in scanned),
            )
            for name in cleaned.class_names
        },
        len(cleaned.films) - len(scanned),
        tuple(residual),
        _raise_flags(detector, share, is_independent=is_independent),
    )


def _raise_flags(detector: str, share: Estimate, *, is_independent: bool) -> tuple[Flag, ...]:
    flags = []
    if share.is_defined and share.value > _WARN_ABOVE:
        flags.append(
            Flag(
                "residual_text",
                "warning",
                f"{detector} still sees text on {share.value:.1%} of the cleaned "
                f"films; more than {_WARN_ABOVE:.0%}; look at them and add what was missed as "
                "decisions",
                {"share": share.value, "low": share.low, "high": share.high},
            )
        )
    if not is_independent:
        flags.append(
            Flag(
                "residual_scan_not_independent",
                "warning",
                f"{detector} also found the regions that were cleaned and is blind to the same "
                "text; scan with another detector",
            )
        )
    return tuple(flags)


def _is_wanted(region: TextRegion, done: FilmActions, *, has_markers: bool) -> bool:
    kept = [
        other
        for other, action in zip(done.found.regions, done.actions, strict=True)
        if action == "kept"
    ]
    in_marker_rows = region.box[3] <= 0.08 * done.found.height
    return any(_touch(region, other) for other in kept) or (has_markers and in_marker_rows)


def _touches_filled(region: TextRegion, done: FilmActions) -> bool:
    return any(
        action in {"removed", "replaced"} and _touch(region, other)
        for other, action in zip(done.found.regions, done.actions, strict=True)
    )


def _touch(region: TextRegion, other: TextRegion) -> bool:
    a, b = region.box, other.box
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

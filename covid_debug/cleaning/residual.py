"""Is there text left? A second scan, by another detector, counted.

Owns the counting. The detector is whatever function the caller passes in.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from covid_debug.artifacts import read_manifest
from covid_debug.cleaning.decisions import Decision, read_decisions
from covid_debug.cleaning.markers import place_in_view
from covid_debug.cleaning.provenance import DECISIONS_NAME, FilmActions, read_actions
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.imaging.boxes import do_overlap
from covid_debug.imaging.reading import FilmFile
from covid_debug.records import Box, Film, FilmRegions, Flag, TextRegion

Scan = Callable[[Sequence[tuple[str, FilmFile]]], Iterable[FilmRegions]]

_WARN_ABOVE: Final = 0.02
_BEFORE: Final = "before cleaning: "


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
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class ResidualScan:
    """What a second detector still sees on the cleaned films.

    Attributes:
        detector: Name of the second detector.
        is_independent: Whether it took no part in finding the regions that were cleaned.
        share: Share of films with residual text.
        share_in_filled: Share of films with residual text at a cleaned place.
        share_before: Share of the same films on which it saw text before cleaning: what it can
            see at all. Undefined where that was not asked.
        by_class: Class -> share of its films with residual text.
        by_class_before: The same before cleaning; empty where that was not asked.
        by_class_in_filled: The same at cleaned places.
        n_scanned: Films that the second detector scanned.
        n_failed: Films that it could not scan.
        films: Films with residual text, in the order of the data set.
        flags: A warning when more than 2 % of the films have residual text, one when the
            detector is not independent, and one when ink was left beside a fill.
        incomplete: Films on which ink goes on outside the mask of a region.
    """

    detector: str
    is_independent: bool
    share: Estimate
    share_in_filled: Estimate
    share_before: Estimate
    by_class: Mapping[str, Estimate]
    by_class_before: Mapping[str, Estimate]
    by_class_in_filled: Mapping[str, Estimate]
    n_scanned: int
    n_failed: int
    films: tuple[ResidualFilm, ...]
    flags: tuple[Flag, ...]
    incomplete: tuple[str, ...] = ()

    def to_decisions(self) -> tuple[Decision, ...]:
        """Return the residual text as ``add`` decisions, for a review or a second build."""
        return tuple(
            Decision(film.image_id, "add", self.detector, box=box, note="second scan")
            for film in self.films
            for box in film.boxes
        )


def scan_residual(
    cleaned: FilmSet,
    scan: Scan,
    detector: str,
    *,
    original: FilmSet | None = None,
    members: Collection[str] = (),
    made_with: Collection[str] = (),
) -> ResidualScan:
    """Look for text on cleaned films with another detector.

    Text that the policy kept is not residual, nor the uniform marker: regions that touch a kept
    region, or lie where the uniform marker is drawn, are not counted; nor are those at a box that
    a reviewer kept or called no text.

    Args:
        cleaned: A cleaned data set, or a part of its films.
        scan: Takes (image id, file) pairs and yields one record for each, e.g.
            :func:`covid_debug.text.scan.scan_films` with a detector bound.
        detector: Name of that detector.
        original: The data set that was cleaned, with all films of ``cleaned``, to ask what the
            detector saw before; None asks nothing.
        members: Detectors that take part in this one; empty means itself alone.
        made_with: Detectors known to have found what was cleaned, besides those that the
            recorded regions name.

    Returns:
        Counts with intervals, per class.

    Raises:
        InputContractError: If the scan leaves films out.
        DataIntegrityError: If ``cleaned`` was not made by cleaning.
    """
    actions = read_actions(cleaned.root)
    manifest = read_manifest(cleaned.root, kind="filmset")
    reviewed = _read_left_boxes(cleaned.root)
    markers = _find_markers(manifest["parameters"])
    pairs = [(film.image_id, cleaned.file_of(film)) for film in cleaned.films]
    if original is not None:
        ids = {image_id for image_id, _ in pairs}
        before = [film for film in original.films if film.image_id in ids]
        pairs += [(_BEFORE + film.image_id, original.file_of(film)) for film in before]
    found = _scan_all(scan, pairs)
    scanned = [film for film in cleaned.films if found[film.image_id].error is None]
    residual = []
    for film in scanned:
        done = actions[film.image_id]
        regions = [
            region
            for region in found[film.image_id].regions
            if not _is_wanted(region, done, markers)
            and not any(do_overlap(region.box, box) for box in reviewed.get(film.image_id, ()))
        ]
        n_in = sum(_touches_filled(region, done) for region in regions)
        if regions:
            boxes = tuple(region.box for region in regions)
            residual.append(
                ResidualFilm(film.image_id, film.label, n_in, len(regions) - n_in, boxes)
            )
    counted = {
        "after": {film.image_id for film in residual},
        "in_filled": {film.image_id for film in residual if film.n_in_filled},
    }
    films = dict.fromkeys(counted, scanned)
    if original is not None:
        asked = [film for film in scanned if found[_BEFORE + film.image_id].error is None]
        counted["before"] = {f.image_id for f in asked if found[_BEFORE + f.image_id].regions}
        films["before"] = asked
    total = {name: wilson_interval(len(which), len(films[name])) for name, which in counted.items()}
    per_class = {
        name: _by_class(films[name], which, cleaned.class_names) for name, which in counted.items()
    }
    cut = tuple(f.image_id for f in cleaned.films if any(actions[f.image_id].incomplete))
    is_independent = not (set(members) or {detector}) & (find_makers(actions) | set(made_with))
    return ResidualScan(
        detector,
        is_independent,
        total["after"],
        total["in_filled"],
        total.get("before", Estimate.undefined(0, "not asked")),
        per_class["after"],
        per_class.get("before", {}),
        per_class["in_filled"],
        len(scanned),
        len(cleaned.films) - len(scanned),
        tuple(residual),
        _raise_flags(detector, total, cut, is_independent=is_independent),
        cut,
    )


def find_makers(actions: Mapping[str, FilmActions]) -> set[str]:
    """Return the detectors that saw the regions which were given to a cleaning."""
    return {
        name
        for film in actions.values()
        for region in film.found.regions
        for name in region.detector.split("+")  # a merged region names all that saw it
    }


def _read_left_boxes(folder: Path) -> dict[str, list[Box]]:
    """Return the boxes that reviewers wanted left as they are, by film."""
    path = folder / DECISIONS_NAME
    boxes: dict[str, list[Box]] = {}
    for line in read_decisions(path) if path.is_file() else ():
        if line.box is not None and line.decision in {"keep", "reject"}:
            boxes.setdefault(line.image_id, []).append(line.box)
    return boxes


def _scan_all(scan: Scan, pairs: Sequence[tuple[str, FilmFile]]) -> dict[str, FilmRegions]:
    found = {record.image: record for record in scan(pairs)}
    missing = [image for image, _ in pairs if image not in found]
    if missing:
        raise InputContractError(
            f"scan_residual: the scan left out {len(missing)} films (first: {missing[0]}); "
            "expected one record for each"
        )
    return found


def _by_class(
    films: Sequence[Film], which: Collection[str], class_names: Sequence[str]
) -> dict[str, Estimate]:
    shares = {}
    for name in class_names:
        members = [film.image_id for film in films if film.label == name]
        shares[name] = wilson_interval(sum(one in which for one in members), len(members))
    return shares


def _raise_flags(
    detector: str, total: Mapping[str, Estimate], cut: Sequence[str], *, is_independent: bool
) -> tuple[Flag, ...]:
    flags = []
    share, in_filled = total["after"], total["in_filled"]
    if share.is_defined and share.value > _WARN_ABOVE:
        flags.append(
            Flag(
                "residual_text",
                "warning",
                f"{detector} still sees text on {share.value:.1%} of the cleaned films, on "
                f"{in_filled.value:.1%} at cleaned places; the rest was missed or is a false "
                "alarm; look at the boxes in decisions.jsonl of the proof and add what was missed",
                {"share": share.value, "low": share.low, "high": share.high},
            )
        )
    if not share.is_defined:
        flags.append(
            Flag(
                "residual_not_measured",
                "warning",
                f"whether text is left could not be measured: {detector} could scan no film",
                {},
            )
        )
    if cut:
        films = "1 film" if len(cut) == 1 else f"{len(cut)} films"
        flags.append(
            Flag(
                "incomplete_regions",
                "info",
                f"on {films} (first: {cut[0]}) ink goes on outside a mask, further than it was"
                " followed: a letter may be cut off, or film as bright lies beside it; n_incomplete"
                " in provenance.csv names them",
                {"n": len(cut)},
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


def _find_markers(parameters: Mapping[str, Any]) -> frozenset[str]:
    """Return where the uniform marker was drawn, ``"above"`` or ``"inside"`` the view.

    Builds of older versions have one word for the policy.
    """
    policy = parameters.get("policy")
    is_above = "replace" in (policy.values() if isinstance(policy, Mapping) else [policy])
    is_inside = policy == "uniform" or bool(parameters.get("uniform_marker"))
    return frozenset([*(["above"] if is_above else []), *(["inside"] if is_inside else [])])


def _is_wanted(region: TextRegion, done: FilmActions, markers: Collection[str]) -> bool:
    kept = [
        other
        for other, action in zip(done.found.regions, done.actions, strict=True)
        if action == "kept"
    ]
    seen = place_in_view(done.found.width, done.found.height).box
    is_marker = ("above" in markers and region.box[3] <= 0.08 * done.found.height) or (
        "inside" in markers and do_overlap(region.box, seen)
    )
    return is_marker or any(do_overlap(region.box, other.box) for other in kept)


def _touches_filled(region: TextRegion, done: FilmActions) -> bool:
    return any(
        action in {"removed", "replaced"} and do_overlap(region.box, other.box)
        for other, action in zip(done.found.regions, done.actions, strict=True)
    )

"""Places without text that are as many and as large as the text of a film, and like its places.

The placebo arm separates "the text is gone" from "something was inpainted". A place is near the
text that it stands for, as far from the border, on a ground of the same grey level and spread, so
that its fill is as visible. What is done at the places is decided by the callers.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import artifact_key, canonical_json
from covid_debug.cleaning.matching import PlaceMatcher
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import InputContractError
from covid_debug.imaging.masks import Mask, PlacedMask, iter_groups
from covid_debug.imaging.reading import FILM_ERRORS, FilmFile, read_film
from covid_debug.imaging.regions import from_line, to_line
from covid_debug.pool import run_in_order
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.seeding import derive_seed
from covid_debug.shards import NAME, Record, Records
from covid_debug.stages import Means, lose_film, work_on_films

_CODE_VERSION: Final = 8
_PLACEBO_DETECTOR: Final = "placebo"
_GAP_PX: Final = (
    4  # around text and its place; with the frame between them more than a fill reaches
)
_NEAR_SHARE: Final = 0.05  # of the film's shorter side: weighs as much as ten grey levels
_LARGEST_DOUBT: Final = 0.05  # of the film; rejected detections above it are no text


NO_PLACE: Final = ("lies outside the film", "no free place for it on the film")
"""Why a region of text has no place: reasons that stand under ``rejected``."""


@dataclass(frozen=True, slots=True)
class _Film:
    file: FilmFile
    found: FilmRegions
    seed: int


def placebo_regions(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    seed: int,
    *,
    n_workers: int = 1,
) -> dict[str, FilmRegions]:
    """Move every region to a place of its film that is like its own and holds no text.

    Regions that lie together (lines of one block) move together, so that a block stays a block;
    where there is no room for it, they move one by one.

    Args:
        filmset: The films; their pixels say which places are alike.
        regions: Text regions by ``image_id``; films without a line, or with an error, are left out.
        seed: Seed of the run; each film has its own stream derived from it, so that the result
            does not depend on which other films are asked for.
        n_workers: Processes; the result does not depend on it.

    Returns:
        By ``image_id``: regions of the same number and shape. A region without a free place stands
        under ``rejected`` with the reason. A film that cannot be read keeps its regions, of which
        no place is known: cleaning refuses it by the same reading.

    Raises:
        FilmChangedError: If a film is not the one that was recorded.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder, "placebo")
        records = keep_places(filmset, regions, seed, out, Means(n_workers=n_workers))
        return read_places(filmset, records)


def keep_places(
    filmset: FilmSet, regions: Mapping[str, FilmRegions], seed: int, out: Path, means: Means
) -> Records:
    """Find the places of :func:`placebo_regions`, the first part of what is made at ``out``.

    Args:
        filmset: As there.
        regions: As there.
        seed: As there.
        out: What is made with the places; they lie beside it.
        means: How it is carried out.

    Returns:
        The places, for :func:`read_places`; remove them when ``out`` stands.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and others have to do theirs.
    """
    chosen = {
        film.image_id: _Film(
            filmset.file_of(film), found, derive_seed(seed, film.image_id, _PLACEBO_DETECTOR)
        )
        for film in filmset.films
        if (found := regions.get(film.image_id)) is not None and found.error is None
    }

    def work(names: Sequence[str], _: Path) -> Iterator[Record]:
        return run_in_order(
            _read_and_move,
            (chosen[name] for name in names),
            means.n_workers,
            where="placebo_regions",
            name=lambda film: film.file.path,
            lose=lambda film, reason: lose_film(film.found.image, reason),
        )

    digest = hashlib.sha256()
    for film in chosen.values():
        digest.update(canonical_json(film).encode())
    key = artifact_key("places", _CODE_VERSION, None, digest.hexdigest())
    return work_on_films(
        out, key, list(chosen), work, means, title="places", refuse=_refuse, is_last=False
    )


def read_places(filmset: FilmSet, records: Records) -> dict[str, FilmRegions]:
    """Return places by ``image_id``, in the order of the films."""
    films = (film.image_id for film in filmset.films)
    return {name: from_line(records[name]) for name in films if name in records}


def _refuse(name: str, reason: str) -> Record:
    return {NAME: name, **to_line(FilmRegions(name, 0, 0, (), error=reason))}


def match_shapes(
    places: Mapping[str, FilmRegions], true_regions: Mapping[str, FilmRegions]
) -> dict[str, tuple[TextRegion, ...]]:
    """Find the text region that each placebo region stands for.

    Args:
        places: Made by :func:`placebo_regions`.
        true_regions: The regions that they were made from.

    Returns:
        By ``image_id``, one text region for each placebo region, in order.

    Raises:
        InputContractError: If the places were not made from these regions.
    """
    shapes = {}
    for image_id, film in places.items():
        if film.error is not None:
            continue
        found = true_regions.get(image_id)
        waiting = [region for region, _ in film.rejected]
        chosen = []
        for region in found.regions if found is not None else ():
            if region in waiting:
                waiting.remove(region)
            else:
                chosen.append(region)
        if len(chosen) != len(film.regions):
            raise InputContractError(
                f"match_shapes: film {image_id!r} has {len(film.regions)} places for "
                f"{len(chosen)} text regions; expected places made from these regions"
            )
        shapes[image_id] = tuple(chosen)
    return shapes


def _read_and_move(film: _Film) -> Record:
    return {NAME: film.found.image, **to_line(_move(film))}


def _move(film: _Film) -> FilmRegions:
    if not film.found.regions:
        return replace(film.found, rejected=())
    try:
        pixels = read_film(film.file).to_uint8()
    except FILM_ERRORS:
        return film.found
    if pixels.shape != (film.found.height, film.found.width):
        return film.found
    return find_places(pixels, film.found, film.seed)


def find_places(pixels: NDArray[np.uint8], found: FilmRegions, seed: int) -> FilmRegions:
    """Move every region of one film.

    Args:
        pixels: ``(H, W)``, gray levels as models see them.
        found: Its text, of the same size. What a detector saw and another rejected might be text,
            and is no place either.
        seed: Draws among the places that are alike.

    Returns:
        The moved regions, in order, and those without a place with the reason.
    """
    generator = np.random.default_rng(seed)
    holes = [_hole(region, pixels.shape) for region in found.regions]
    closed = np.zeros(pixels.shape, np.bool_)
    for hole in holes:
        if hole is not None:
            hole.stamp(closed)
    blocks = list(_iter_blocks(holes, closed))
    for doubt, _ in found.rejected:
        doubtful = _hole(doubt, pixels.shape)
        if doubtful is not None and doubtful.n_pixels <= _LARGEST_DOUBT * closed.size:
            doubtful.stamp(closed)
    places: list[PlacedMask | None] = [None] * len(holes)
    for group in blocks:
        for index, at in _move_block(pixels, closed, holes, group, generator):
            places[index] = at
    moved: list[TextRegion] = []
    rejected: list[tuple[TextRegion, str]] = []
    for region, hole, place in zip(found.regions, holes, places, strict=True):
        if hole is None:
            rejected.append((region, NO_PLACE[0]))
        elif place is None:
            rejected.append((region, NO_PLACE[1]))
        else:
            by_y, by_x = place.top - hole.top, place.left - hole.left
            polygon = tuple((x + by_x, y + by_y) for x, y in region.polygon)
            # Of the same kind, so that a policy treats both arms alike.
            moved.append(replace(region, polygon=polygon, content=None, detector=_PLACEBO_DETECTOR))
    return FilmRegions(
        found.image, found.width, found.height, tuple(moved), rejected=tuple(rejected)
    )


def _hole(region: TextRegion, shape: tuple[int, ...]) -> PlacedMask | None:
    """Return the box of a region with a gap around it, cut to the film; None outside it."""
    x_min, y_min, x_max, y_max = region.box
    if x_min >= shape[1] or y_min >= shape[0] or x_max <= 0 or y_max <= 0:
        return None
    top, left = max(int(y_min) - _GAP_PX, 0), max(int(x_min) - _GAP_PX, 0)
    bottom = min(int(np.ceil(y_max)) + _GAP_PX, shape[0])
    right = min(int(np.ceil(x_max)) + _GAP_PX, shape[1])
    return PlacedMask(top, left, np.ones((bottom - top, right - left), np.bool_))


def _iter_blocks(holes: Sequence[PlacedMask | None], closed: Mask) -> Iterator[list[int]]:
    """Yield the indices of the regions that lie together, the largest block first."""
    blocks = []
    for block in iter_groups(closed):
        drawn = block.drawn(closed.shape)
        blocks.append(
            [i for i, hole in enumerate(holes) if hole is not None and drawn[hole.top, hole.left]]
        )
    yield from sorted(blocks, key=lambda block: -sum(_area(holes[i]) for i in block))


def _area(hole: PlacedMask | None) -> int:
    return 0 if hole is None else hole.n_pixels


def _move_block(
    pixels: NDArray[np.uint8],
    closed: Mask,
    holes: Sequence[PlacedMask | None],
    block: Sequence[int],
    generator: np.random.Generator,
) -> Iterator[tuple[int, PlacedMask]]:
    """Yield index and place of each region of a block that found one; closes the places."""
    near_px = _NEAR_SHARE * min(pixels.shape)
    members = [(index, hole) for index in block if (hole := holes[index]) is not None]
    whole = _enclose([hole for _, hole in members])
    place = PlaceMatcher(pixels, closed).find(whole, generator, near_px=near_px)
    if place is not None:
        for index, hole in members:
            at = hole.moved(place.top - whole.top, place.left - whole.left)
            at.stamp(closed)
            yield index, at
        return
    for index, hole in members if len(members) > 1 else ():
        alone = PlaceMatcher(pixels, closed).find(hole, generator, near_px=near_px)
        if alone is not None:
            alone.stamp(closed)
            yield index, alone


def _enclose(holes: Sequence[PlacedMask]) -> PlacedMask:
    top, left = min(hole.top for hole in holes), min(hole.left for hole in holes)
    bottom = max(hole.top + hole.high for hole in holes)
    right = max(hole.left + hole.wide for hole in holes)
    return PlacedMask(top, left, np.ones((bottom - top, right - left), np.bool_))

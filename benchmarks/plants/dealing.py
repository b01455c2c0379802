"""Which film bears which plant, and the planted copy of a film set as an artifact.

Two kinds of copies. For *training*, ``correlation`` rho says how the learned plant goes with its
class: each film of the class bears it with probability rho, no film of another class does; what
bears it at one rho bears it at every larger one, at the same place. For *probing*
(``correlation=None``), films of every class bear it with probability ``probe_share``. Harmless
plants are dealt to all classes alike in both. The films' own text stays where it is.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.plants.glyphs import FONT_NAMES, Look, Plant, Role, burn, find_place
from covid_debug.artifacts import hash_file, write_artifact
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.errors import InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions, regions_to_mask
from covid_debug.imaging.writing import write_png
from covid_debug.ranges import check_range
from covid_debug.records import Film, FilmRegions, Split
from covid_debug.records_json import read_lines, write_lines
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means, Request

PLANTS_NAME = "plants.jsonl"
_GAP_PX = 6  # film pixels that a plant keeps from any other text


@dataclass(frozen=True)
class PlantParams:
    """What is planted.

    Attributes:
        plant_class: Class whose training films bear the learned plant.
        learned: Characters of the learned plant.
        harmless: Characters of the harmless plants; a film gets one of them.
        harmless_share: Films of every class and split that bear a harmless plant.
        probe_share: Films of every class that bear the learned plant where it is dealt
            independently of the class.
        height_shares: Smallest and largest height of the letters, as shares of the film's height.
        grays: Smallest and largest gray value of the ink.
    """

    plant_class: str = "pneumonia"
    learned: str = "PORTABLE"
    harmless: tuple[str, ...] = ("R", "L", "AP", "ERECT")
    harmless_share: float = 0.5
    probe_share: float = 0.5
    height_shares: tuple[float, float] = (0.03, 0.08)
    grays: tuple[int, int] = (200, 255)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputContractError: If a share is out of range or nothing harmless is named.
        """
        check_range(self, "[0, 1]", "harmless_share", "probe_share")
        if not self.harmless or self.learned in self.harmless:
            raise InputContractError(
                f"PlantParams: harmless is {self.harmless}; expected texts other than the learned"
                f" {self.learned!r}"
            )


@dataclass(frozen=True, slots=True)
class PlantedFilm:
    """One line of ``plants.jsonl``: a film and what was planted on it.

    Attributes:
        image_id: The film.
        plants: At most one learned and one harmless plant.
        missing: Roles that were dealt to the film and found no place on it.
    """

    image_id: str
    plants: tuple[Plant, ...]
    missing: tuple[Role, ...] = ()

    def bears(self, role: Role) -> bool:
        """Tell whether a plant of this role lies on the film."""
        return any(plant.role == role for plant in self.plants)


@dataclass(frozen=True)
class PlantRequest(Request):
    """Make a planted copy of a film set.

    Attributes:
        filmset: The films.
        regions: Their own text, which stays and is not planted on.
        correlation: Rho in [0, 1] for a copy to train on (train and val); None for a copy to
            probe with (val and test).
        params: What is planted.
        view: Plants lie inside this view.
        seed: Decides who bears what, and where.
    """

    filmset: Path
    regions: Path
    correlation: float | None
    params: PlantParams = field(default_factory=PlantParams)
    view: ViewSpec = field(default_factory=ViewSpec)
    seed: int = 0

    stage: ClassVar[str] = "planted"
    makes: ClassVar[str] = "filmset"
    code_version: ClassVar[int] = 1

    def splits(self) -> tuple[Split, ...]:
        """Return the splits that the copy has."""
        return ("val", "test") if self.correlation is None else ("train", "val")

    def make(self, out: Path, means: Means) -> FilmSet:
        """Plant on every film; films without plants stay where they are."""
        filmset, regions = load_filmset(self.filmset), read_regions(self.regions)
        _check_class(self.params.plant_class, filmset)
        films = [film for film in filmset.films if film.split in self.splits()]
        with (
            write_artifact(
                out, kind=self.makes, parameters=self.parameters(), inputs=self.inputs()
            ) as draft,
            means.listener.progress("planting") as progress,
            ThreadPoolExecutor(means.n_workers) as pool,
        ):
            (draft.path / "films").mkdir()
            written, planted = [], []
            work = partial(_plant_on, self, filmset, regions, draft.path)
            for film, record in pool.map(work, films):
                written.append(film)
                planted.append(record)
                progress(len(written), len(films))
            write_films(draft.path, written)
            write_unusable(draft.path, [])
            write_split_lists(draft.path, written)
            write_lines(draft.path / PLANTS_NAME, planted)
            draft.facts.update(
                name=f"{filmset.name}/planted",
                class_names=filmset.class_names,
                n_ok=len(films),
                n_total=len(films),
                n_without_place=sum(len(record.missing) for record in planted),
            )
        return load_filmset(out)


def load_plants(folder: Path) -> dict[str, PlantedFilm]:
    """Return ``image_id`` -> plants of a planted copy, in the order of its films."""
    records = read_lines(
        folder / PLANTS_NAME,
        PlantedFilm,
        broken="has a line that is not a planted film",
        remedy="plant again",
    )
    return {record.image_id: record for record in records}


def deal(film: Film, params: PlantParams, correlation: float | None, seed: int) -> list[Look]:
    """Decide what a film is to bear.

    Args:
        film: The film.
        params: What is planted.
        correlation: As in :class:`PlantRequest`.
        seed: As in :class:`PlantRequest`.

    Returns:
        None, one or both of a learned and a harmless plant, without places.
    """
    copy = "probe" if correlation is None else "train"
    generator = np.random.default_rng(derive_seed(seed, film.image_id, copy, "deal"))
    chance, harmless_chance = generator.random(2)
    share = params.probe_share
    if correlation is not None:
        share = correlation if film.label == params.plant_class else 0.0
    harmless = params.harmless[int(generator.integers(len(params.harmless)))]
    looks = [_draw_look("learned", params.learned, params, generator)]
    looks.append(_draw_look("harmless", harmless, params, generator))
    dealt = (chance < share, harmless_chance < params.harmless_share)
    return [look for look, is_dealt in zip(looks, dealt, strict=True) if is_dealt]


def _draw_look(
    role: Role, content: str, params: PlantParams, generator: np.random.Generator
) -> Look:
    return Look(
        role,
        content,
        FONT_NAMES[int(generator.integers(len(FONT_NAMES)))],
        round(generator.uniform(*params.height_shares), 4),
        int(generator.integers(params.grays[0], params.grays[1] + 1)),
    )


def _plant_on(
    request: PlantRequest,
    filmset: FilmSet,
    regions: dict[str, FilmRegions],
    folder: Path,
    film: Film,
) -> tuple[Film, PlantedFilm]:
    looks = deal(film, request.params, request.correlation, request.seed)
    path = filmset.path_of(film).resolve()
    if not looks:
        return replace(film, path=str(path)), PlantedFilm(film.image_id, ())
    pixels = read_film(filmset.file_of(film)).to_uint8()
    height, width = pixels.shape
    found = regions[film.image_id].regions if film.image_id in regions else ()
    taken = regions_to_mask(found, width, height, dilation_px=_GAP_PX)
    geometry = compute_geometry(width, height, request.view)
    plants: list[Plant] = []
    missing: list[Role] = []
    for look in looks:
        # A place of its own for each role, whatever else the film bears.
        seed = derive_seed(request.seed, film.image_id, look.role, film.split)
        plant = find_place(look, pixels, taken, geometry, np.random.default_rng(seed))
        if plant is None:
            missing.append(look.role)
            continue
        plants.append(plant)
        top, left = max(0, plant.top - _GAP_PX), max(0, plant.left - _GAP_PX)
        taken[top : plant.top + plant.high + _GAP_PX, left : plant.left + plant.wide + _GAP_PX] = 1
    name = f"films/{film.image_id}.png"
    write_png(folder / name, burn(pixels, plants), quick=True)
    copy = replace(film, path=name, sha256=hash_file(folder / name), window_low=0, window_high=255)
    return copy, PlantedFilm(film.image_id, tuple(plants), tuple(missing))


def _check_class(name: str, filmset: FilmSet) -> None:
    if name not in filmset.class_names:
        raise InputContractError(
            f"--plant-class {name!r} is not a class of {filmset.root}"
            f"{suggest(name, filmset.class_names)} (known: {', '.join(filmset.class_names)})"
        )

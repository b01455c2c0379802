"""Test films with the text of a film of another class in the place of their own.

Owns who gives text to whom, and how it is laid on. A model that reads follows the text; one that
does not loses only what the fills and the foreign letters hide. Donors are test films: training
films would lay on text that a model has seen letter by letter with its label.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.versions import VersionPlan, VersionRequest
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import FilmFile, FilmImage, Pixels, read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.records import Film, FilmRegions
from covid_debug.seeding import derive_seed

SWAPS_NAME: Final = "swaps.csv"


@dataclass(frozen=True)
class SwapRequest(VersionRequest):
    """Exchange the text of every test film for that of a film of another class.

    Attributes:
        filmset: The films; only those in ``test`` are made.
        regions: Artifact of the regions, or a file of JSON lines.
        params: How text is removed; side markers too, decoys are left out.
        seed: Decides the donors.
    """

    filmset: Path
    regions: Path
    params: CleaningParams = field(default_factory=CleaningParams)
    seed: int = 0

    stage: ClassVar[str] = "swapped"
    code_version: ClassVar[int] = 2

    def plan(self) -> VersionPlan:
        """Draw the donors, who are named in ``swaps.csv``."""
        filmset = load_filmset(self.filmset)
        regions = read_regions(self.regions)
        params = dataclasses.replace(self.params, policy={}, uniform_marker=False, decoy_sets=0)
        donors = choose_donors(filmset, regions, self.seed)
        test = dataclasses.replace(
            filmset, films=filmset.select("test"), n_total=len(filmset.select("test"))
        )
        return VersionPlan(
            test,
            {
                film.image_id: partial(
                    swap_text,
                    found=regions.get(film.image_id),
                    donor=filmset.file_of(donors[film.image_id]),
                    donor_found=regions[donors[film.image_id].image_id],
                    params=params,
                )
                for film in test.films
            },
            "swapped",
            {SWAPS_NAME: _list_swaps(test, donors)},
        )


def choose_donors(
    filmset: FilmSet, regions: Mapping[str, FilmRegions], seed: int
) -> dict[str, Film]:
    """Draw a film of another class, with text, for every test film.

    Args:
        filmset: The films.
        regions: Their text by ``image_id``.
        seed: Seed of the run; each film draws by itself: first the class, all others alike, then
            one of its films.

    Returns:
        By ``image_id`` of the test films.

    Raises:
        DataIntegrityError: If no test film of another class has text.
    """
    by_class: dict[str, list[Film]] = {}
    for film in filmset.select("test"):
        found = regions.get(film.image_id)
        if found is not None and found.error is None and found.regions:
            by_class.setdefault(film.label, []).append(film)
    donors = {}
    for film in filmset.select("test"):
        classes = [name for name in filmset.class_names if name in by_class and name != film.label]
        if not classes:
            raise DataIntegrityError(
                f"{filmset.root}: no test film of another class than {film.label!r} has text, so"
                " none can be exchanged; leave 'swapped' out of tests"
            )
        generator = np.random.default_rng(derive_seed(seed, film.image_id, "swapped"))
        givers = by_class[classes[generator.integers(len(classes))]]
        donors[film.image_id] = givers[generator.integers(len(givers))]
    return donors


def swap_text(
    image: FilmImage,
    *,
    found: FilmRegions | None,
    donor: FilmFile,
    donor_found: FilmRegions,
    params: CleaningParams,
) -> Pixels:
    """Fill the text of a film and lay that of another one on it.

    Args:
        image: The film.
        found: Its text.
        donor: The film that gives text.
        donor_found: The donor's text.
        params: How text is removed from both.

    Returns:
        ``(H, W)`` of the film's type. The donor's text is what the donor loses by the same
        cleaning, in gray levels as models see them, scaled to the film's size, so that it keeps
        its place relative to the film's sides.

    Raises:
        DataIntegrityError: If text is not known or a cleaning exceeds its budget.
    """
    height, width = image.pixels.shape
    if found is None or found.error is not None:
        raise DataIntegrityError("text regions are missing for this film")
    if (found.width, found.height) != (width, height):
        raise DataIntegrityError(
            f"text regions were made for {found.width} x {found.height} pixels, the film has"
            f" {width} x {height}"
        )
    own = clean_film(image.pixels, found.regions, params).pixels
    gains = cv2.resize(take_text(donor, donor_found, params), (width, height))
    if image.pixels.dtype == np.uint8:
        gray: Pixels = np.clip(np.rint(own + gains), 0, 255).astype(np.uint8)
        return gray
    low, high = image.window
    levels = np.rint(own + gains * np.float32((high - low) / 255))
    deep: Pixels = np.clip(levels, 0, np.iinfo(np.uint16).max).astype(np.uint16)
    return deep


def take_text(donor: FilmFile, found: FilmRegions, params: CleaningParams) -> NDArray[np.float32]:
    """Return what a film loses by cleaning, ``(H, W)`` in [-255, 255] gray levels."""
    image = read_film(donor)
    cleaned = clean_film(image.pixels, found.regions, params)
    after = dataclasses.replace(image, pixels=cleaned.pixels).to_uint8()
    return image.to_uint8().astype(np.float32) - after


def _list_swaps(test: FilmSet, donors: Mapping[str, Film]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "label", "donor", "donor_label", "donor_source"])
    for film in test.films:
        donor = donors[film.image_id]
        row = [film.image_id, film.label, donor.image_id, donor.label, donor.source]
        writer.writerow(row)
    return text.getvalue()

"""What the stages of the audit check first: models of one kind, text of these films."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covid_debug.data.filmset import FilmSet
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.records import TEXT_KINDS, Film, FilmRegions, RegionKind
from covid_debug.text.contents import read_named_regions

NOT_ASKED: Final = "of a kind that is not asked about"


def choose_kinds(
    found: Mapping[str, FilmRegions], kinds: Collection[RegionKind]
) -> dict[str, FilmRegions]:
    """Return films with the regions of some kinds; the others stand under ``rejected``."""
    return {
        image: replace(
            film,
            regions=tuple(region for region in film.regions if region.kind in kinds),
            rejected=(
                *film.rejected,
                *((region, NOT_ASKED) for region in film.regions if region.kind not in kinds),
            ),
        )
        for image, film in found.items()
    }


def read_text_of(
    films: Sequence[Film], place: Path, kinds: Collection[RegionKind] = TEXT_KINDS
) -> dict[str, FilmRegions]:
    """Read the text of films, and refuse that of others.

    Args:
        films: Test films.
        place: Folder of kind ``"regions"``, or a file of JSON lines.
        kinds: Regions of other kinds are put under ``rejected``.

    Returns:
        Image id -> regions; a single film may be missing.

    Raises:
        DataIntegrityError: If the file is missing or damaged, or none of the films is in it.
    """
    found = choose_kinds(read_named_regions(place), kinds)
    if films and not any(film.image_id in found for film in films):
        raise DataIntegrityError(
            f"{place}: holds none of the {len(films)} test films (first: {films[0].image_id}); give"
            " what detect-text found on this data set"
        )
    return found


def check_seeds(stage: str, folders: Sequence[Path]) -> None:
    """Refuse a checkpoint that stands for two seeds.

    Args:
        stage: Who asks, for the message.
        folders: Checkpoints.

    Raises:
        InputContractError: If there is none, or one is named twice.
    """
    if not folders:
        raise InputContractError(f"{stage}: no checkpoint was given; expected at least one")
    places = [folder.resolve() for folder in folders]
    twice = next((place.name for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise InputContractError(
            f"{stage}: checkpoint {twice!r} is given twice; give each seed once"
        )


def check_models(stage: str, models: Sequence[LoadedModel], filmset: FilmSet) -> None:
    """Refuse models that are not seeds of one training on these films.

    Args:
        stage: Who asks, for the message.
        models: They are shown the same views.
        filmset: The films.

    Raises:
        InputContractError: If there is no model, or views or classes differ.
    """
    if not models:
        raise InputContractError(f"{stage}: no checkpoint was given; expected at least one")
    first = models[0].view
    for number, model in enumerate(models, 1):
        view, names = model.view, list(model.classifier.class_names)
        if view != first:
            raise InputContractError(
                f"{stage}: checkpoints 1 and {number} see other views ({first.image_size} and"
                f" {view.image_size} pixels a side, {first.top_crop:g} and {view.top_crop:g} of the"
                " film's top cut off); give seeds of one training"
            )
        if names != list(filmset.class_names):
            raise InputContractError(
                f"{filmset.root}: has classes {', '.join(filmset.class_names)}, checkpoint"
                f" {number} has {', '.join(names)}; give models of the films' classes"
            )


def check_size(name: str, film: NDArray[np.uint8], found: FilmRegions) -> None:
    """Refuse text regions of a film of another size.

    Args:
        name: The film, for the message.
        film: ``(H, W)``.
        found: Its text.

    Raises:
        DataIntegrityError: If the sizes differ.
    """
    if film.shape != (found.height, found.width):
        raise DataIntegrityError(
            f"{name}: is {film.shape[1]} x {film.shape[0]} pixels, its text regions are for"
            f" {found.width} x {found.height}; detect the text again"
        )

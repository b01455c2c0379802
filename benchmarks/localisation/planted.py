"""Real films with a planted word that a model has learned, and films with text of their own."""

from pathlib import Path

import numpy as np

from benchmarks.localisation.films import Candidates, Masks, Views
from benchmarks.plants.dealing import PlantedFilm, PlantRequest, load_plants
from benchmarks.plants.glyphs import Role, burn
from benchmarks.plants.truth import render_twins
from covid_debug.audit.interventions import text_in_view
from covid_debug.audit.planning import AuditParams
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.geometry import ViewSpec, render_view, render_view_mask
from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions, regions_to_mask
from covid_debug.records import Split
from covid_debug.stages import Means, find_or_make
from covid_debug.text.stage import RegionsRequest, TextParams
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

EPOCHS = 24
FEWER_EPOCHS = {"densenet121": 8}
"""Backbones that cost so much more that they learn for fewer epochs."""


def train_on_plants(
    data: Path, regions: Path, arch: str, view: ViewSpec, store: Path, means: Means
) -> Path:
    """Return a checkpoint of a model for which the planted word always goes with its class.

    Args:
        data: Real films with train and val.
        regions: Their own text.
        arch: Backbone.
        view: What the model sees.
        store: Artifacts; finished ones are found again.
        means: How it is carried out.
    """
    planted = find_or_make(PlantRequest(data, regions, 1.0), store, means)
    n_epochs = FEWER_EPOCHS.get(arch, EPOCHS)
    recipe = TrainingParams(arch=arch, n_epochs=n_epochs, precision="bf16-mixed")
    return find_or_make(TrainRequest(planted, recipe, view, 0), store, means)


def find_plants(
    data: Path, regions: Path, view: ViewSpec, split: Split, store: Path, means: Means
) -> Candidates:
    """Return the films of a split that bear the learned word.

    The truth is the word's box: between and within its letters a map of 28 cells a side cannot
    tell strokes apart. The ink is the pixels that the word changes.

    Args:
        data: The films before anything was planted.
        regions: Their own text.
        view: What the model sees.
        split: ``val`` or ``test``.
        store: Artifacts.
        means: How it is carried out.
    """
    probe = find_or_make(PlantRequest(data, regions, None), store, means)
    plants = load_plants(probe)
    detected = read_regions(
        find_or_make(RegionsRequest(probe, TextParams(read_content=False)), store, means)
    )
    films = tuple(
        film for film in load_filmset(probe).select(split) if plants[film.image_id].bears("learned")
    )
    original = load_filmset(data)
    twins = render_twins(original, films, plants, view, n_workers=means.n_workers)
    before = {film.image_id: film for film in original.films}
    truth, ink, harmless, text = [], [], [], []
    for film in films:
        planted = plants[film.image_id]
        shape = (film.height, film.width)
        truth.append(render_view_mask(_boxes(planted, "learned", shape), view))
        harmless.append(render_view_mask(_boxes(planted, "harmless", shape), view))
        regions_found = detected[film.image_id].regions if film.image_id in detected else ()
        text.append(
            render_view_mask(
                regions_to_mask(regions_found, film.width, film.height, dilation_px=0), view
            )
        )
        pixels = read_film(original.file_of(before[film.image_id])).to_uint8()
        learned = [plant for plant in planted.plants if plant.role == "learned"]
        ink.append(render_view_mask(burn(pixels, learned) != pixels, view))
    return Candidates(
        kind="plant",
        names=[film.image_id for film in films],
        patients=[film.patient_id for film in films],
        views=twins.views["planted"],
        twins=twins.views["without_learned"],
        truth=np.stack(truth),
        ink=np.stack(ink),
        harmless=np.stack(harmless),
        text=np.stack(text),
        others=(twins.views["without_harmless"],),
    )


def find_native_text(data: Path, regions: Path, view: ViewSpec, split: Split) -> Candidates:
    """Return real films with text of their own, and the same films with it filled in.

    Args:
        data: The films.
        regions: Their text, as a detector found it.
        view: What the model sees.
        split: Which films.
    """
    filmset, found = load_filmset(data), read_regions(regions)
    params = AuditParams()
    names, patients, views, twins, masks = [], [], [], [], []
    for film in filmset.select(split):
        if film.image_id not in found or not found[film.image_id].regions:
            continue
        text, inside = text_in_view(
            found[film.image_id].regions,
            film.width,
            film.height,
            view,
            dilation_px=params.dilation_px,
        )
        if not inside.any():
            continue
        pixels = read_film(filmset.file_of(film)).to_uint8()
        names.append(film.image_id)
        patients.append(film.patient_id)
        views.append(render_view(pixels, view))
        twins.append(render_view(np.asarray(inpaint(pixels, text), np.uint8), view))
        masks.append(render_view_mask(inside, view))
    side = view.image_size
    none: Views = np.empty((0, side, side), np.uint8)
    truth: Masks = np.stack(masks) if masks else none.astype(np.bool_)
    return Candidates(
        kind="text",
        names=names,
        patients=patients,
        views=np.stack(views) if views else none,
        twins=np.stack(twins) if twins else none,
        truth=truth,
        ink=truth,
        harmless=np.zeros_like(truth),
        text=truth,
    )


def _boxes(planted: PlantedFilm, role: Role, shape: tuple[int, int]) -> Masks:
    boxes = np.zeros(shape, np.bool_)
    for plant in planted.plants:
        if plant.role == role:
            boxes[plant.window] = True
    return boxes

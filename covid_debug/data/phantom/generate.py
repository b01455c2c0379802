"""Making a phantom data set: films, truth, counterfactual twins, all as one artifact.

Owns files and seeds; what is drawn is decided in the sibling modules.
"""

import copy
import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import hash_file, write_artifact, write_text_atomic
from covid_debug.data.counterfactuals import COUNTERFACTUALS_NAME
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.data.integrity import check_filmset, write_ingest_audit
from covid_debug.data.phantom.anatomy import Build, draw_build, render_chest
from covid_debug.data.phantom.canvas import Pose
from covid_debug.data.phantom.exposure import expose
from covid_debug.data.phantom.markers import Mark, burn, draw_neutral, site_named
from covid_debug.data.phantom.plan import FilmPlan, plan_pool, swapped_site
from covid_debug.data.phantom.signs import CLASS_NAMES, draw_strength, render_sign
from covid_debug.errors import InputContractError
from covid_debug.imaging.regions import regions_to_mask, write_regions
from covid_debug.imaging.writing import write_png
from covid_debug.progress import Progress
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.seeding import derive_seed

TRUTH_REGIONS_NAME = "truth_regions.jsonl"
TRUTH_NAME = "truth.csv"
TEXT_FREE, TEXT_SWAPPED = "text_free", "text_swapped"
_UNMARKED_SHARE = 0.06
_SIGN_SHARE = 0.1  # of a sign's largest attenuation: below, it is not seen
_AT_ONCE = 4  # films in flight for each thread; keeps memory flat
_TRUTH_COLUMNS = (
    "image_id", "path", "split", "patient_id", "label", "site", "site_class", "marker", "n_texts",
    "sign_strength",
)  # fmt: skip
_COUNTERFACTUAL_COLUMNS = ("image_id", "kind", "path", "sha256", "site", "site_class")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PhantomFilm:
    """One phantom in memory.

    Attributes:
        bare: The film without any text, ``(H, W)`` uint8.
        marked: The film as its site delivers it.
        swapped: The film with the marker of another class's site.
        regions: Outlines of the text on ``marked``; the twins equal it elsewhere, save for the
            outlines of their own text.
        marker: Characters of the site's marker, ``""`` on unmarked films.
        strength: Strength of the disease sign, 0 for normal films.
        swapped_site: Site whose marker ``swapped`` carries.
    """

    bare: Pixels
    marked: Pixels
    swapped: Pixels
    regions: tuple[TextRegion, ...]
    marker: str
    strength: float
    swapped_site: str


def generate_phantom(
    out: Path | str,
    *,
    n_train: int,
    n_test: int,
    seed: int,
    text_correlation: float = 0.9,
    val_share: float = 0.2,
    n_workers: int = 2,
    progress: Progress | None = None,
) -> FilmSet:
    """Write a data set of procedural radiographs whose text and causal effect are known.

    Beside the usual files of a film set the folder holds ``truth_regions.jsonl`` (every text),
    ``truth.csv`` (site, marker, sign strength) and ``counterfactuals.csv`` with two twins of
    every test film: ``text_free`` and ``text_swapped``.

    Args:
        out: Folder to make; must not exist.
        n_train: Films for training and validation, >= 1.
        n_test: Films for testing, >= 1; their markers are independent of the class.
        seed: Seed of everything; film ``i`` does not depend on ``n_train`` or ``n_test``.
        text_correlation: Probability in [0, 1] that a training patient's site belongs to the
            patient's class; one third is chance.
        val_share: Share of the training patients held out for validation, in [0, 1).
        n_workers: Threads; the films do not depend on it.
        progress: Called with (films done, films in total).

    Returns:
        The data set, loaded from ``out``.

    Raises:
        InputContractError: If a number is out of range.
    """
    _check(n_train, n_test, text_correlation, val_share)
    plans = [
        *plan_pool("train", n_train, seed=seed, text_correlation=text_correlation,
                   val_share=val_share),
        *plan_pool("test", n_test, seed=seed, text_correlation=text_correlation,
                   val_share=val_share),
    ]  # fmt: skip
    parameters = {
        "n_train": n_train, "n_test": n_test, "seed": seed, "text_correlation": text_correlation,
        "val_share": val_share,
    }  # fmt: skip
    out = Path(out)
    with write_artifact(out, kind="filmset", parameters=parameters) as draft:
        folders = ["train", "test", *(f"counterfactuals/{k}" for k in (TEXT_FREE, TEXT_SWAPPED))]
        for folder in folders:
            (draft.path / folder).mkdir(parents=True)
        written = []
        for record in _in_parallel(plans, partial(_write_film, draft.path, seed), n_workers):
            written.append(record)
            if progress is not None:
                progress(len(written), len(plans))
        films = [record.film for record in written]
        write_films(draft.path, films)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, films)
        write_regions(draft.path / TRUTH_REGIONS_NAME, [record.regions for record in written])
        _write_table(draft.path / TRUTH_NAME, _TRUTH_COLUMNS, [r.truth for r in written])
        twins = [row for record in written for row in record.counterfactuals]
        _write_table(draft.path / COUNTERFACTUALS_NAME, _COUNTERFACTUAL_COLUMNS, twins)
        drafted = FilmSet(draft.path, "phantom", CLASS_NAMES, tuple(films), len(films))
        write_ingest_audit(draft.path, check_filmset(drafted, n_workers=n_workers))
        draft.facts |= {
            "name": "phantom", "class_names": list(CLASS_NAMES),
            "n_ok": len(films), "n_total": len(films),
        }  # fmt: skip
    return load_filmset(out)


def render_phantom(seed: int, plan: FilmPlan) -> PhantomFilm:
    """Return one phantom and its twins, drawn from the data set's seed and the film's plan."""
    build = draw_build(_rng(seed, plan.pool, "patient", plan.label_index, plan.patient))
    rng = _rng(seed, plan.pool, "film", plan.index)
    pose = _draw_pose(build, rng)
    chest = render_chest(build, pose, rng)
    strength = draw_strength(plan.label_index, rng)
    sign = render_sign(chest, plan.label_index, strength, rng)
    bare = expose(chest.density + sign, rng)
    neutral = draw_neutral(rng)
    is_marked = rng.random() >= _UNMARKED_SHARE
    own = site_named(plan.site)[1].marks if is_marked else ()
    foreign_site = swapped_site(seed, plan)
    foreign = site_named(foreign_site)[1].marks
    if not is_marked:
        neutral = ()
    marked, regions = _burn_all(bare, own, neutral, seed, plan, plan.site)
    swapped, _ = _burn_all(bare, foreign, neutral, seed, plan, foreign_site)
    marker = " ".join(region.content or "" for region in regions[: len(own)])
    return PhantomFilm(bare, marked, swapped, regions, marker, strength, foreign_site)


@dataclass(frozen=True, slots=True)
class PhantomTruth:
    """Twins of one phantom, each without one cause, and where that cause lies.

    Attributes:
        without_sign: The film as its site delivers it, of a patient without the disease.
        without_mark: The film without its site's marker; neutral text stays.
        sign: Bool ``(H, W)``, where the disease changes the film; empty for normal films.
        mark: Bool ``(H, W)``, where the site's marker does; empty on unmarked films.
        neutral: Bool ``(H, W)``, text that tells nothing of the class.
    """

    without_sign: Pixels
    without_mark: Pixels
    sign: NDArray[np.bool_]
    mark: NDArray[np.bool_]
    neutral: NDArray[np.bool_]


def render_truth(seed: int, plan: FilmPlan) -> PhantomTruth:
    """Return the twins of :func:`render_phantom`'s film that tell what each cause does to it.

    The sign is where its attenuation exceeds a tenth of its largest; exposure, grain and text of
    the twins are those of the film.
    """
    build = draw_build(_rng(seed, plan.pool, "patient", plan.label_index, plan.patient))
    rng = _rng(seed, plan.pool, "film", plan.index)
    chest = render_chest(build, _draw_pose(build, rng), rng)
    strength = draw_strength(plan.label_index, rng)
    added = render_sign(chest, plan.label_index, strength, rng)
    bare = expose(chest.density + added, copy.deepcopy(rng))
    healthy = expose(chest.density, rng)
    neutral = draw_neutral(rng)
    is_marked = rng.random() >= _UNMARKED_SHARE
    own = site_named(plan.site)[1].marks if is_marked else ()
    neutral = neutral if is_marked else ()
    _, regions = _burn_all(bare, own, neutral, seed, plan, plan.site)
    height, width = bare.shape
    return PhantomTruth(
        without_sign=_burn_all(healthy, own, neutral, seed, plan, plan.site)[0],
        without_mark=_burn_all(bare, (), neutral, seed, plan, plan.site)[0],
        sign=np.asarray(added > _SIGN_SHARE * max(float(added.max()), 1e-6), np.bool_),
        mark=regions_to_mask(regions[: len(own)], width, height, dilation_px=0),
        neutral=regions_to_mask(regions[len(own) :], width, height, dilation_px=0),
    )


def render_lungs(seed: int, plan: FilmPlan) -> NDArray[np.bool_]:
    """Return where the lungs of :func:`render_phantom`'s film lie.

    Returns:
        Bool ``(H, W)``: both lungs without what heart and great vessels hide, as lung fields are
        drawn on radiographs.
    """
    build = draw_build(_rng(seed, plan.pool, "patient", plan.label_index, plan.patient))
    rng = _rng(seed, plan.pool, "film", plan.index)
    chest = render_chest(build, _draw_pose(build, rng), rng)
    return np.asarray((np.maximum(chest.right, chest.left) > 0.5) & (chest.heart <= 0.5), np.bool_)


def _check(n_train: int, n_test: int, text_correlation: float, val_share: float) -> None:
    for name, count in (("n_train", n_train), ("n_test", n_test)):
        if count < 1:
            raise InputContractError(f"phantom: {name} is {count}; expected at least 1 film")
    if not 0 <= text_correlation <= 1:
        raise InputContractError(
            f"phantom: text_correlation is {text_correlation}; expected a probability in [0, 1]"
        )
    if not 0 <= val_share < 1:
        raise InputContractError(f"phantom: val_share is {val_share}; expected a share in [0, 1)")


def _rng(seed: int, *scope: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "phantom", *scope))


def _draw_pose(build: Build, rng: np.random.Generator) -> Pose:
    longest, ratio = int(rng.integers(400, 641)), rng.uniform(0.85, 1.2)
    width = longest if ratio < 1 else round(longest / ratio)
    height = round(longest * ratio) if ratio < 1 else longest
    unit_px = min(width / rng.uniform(2.05, 2.45), height / (2.1 * build.stretch))
    center = (width * (0.5 + rng.normal(0, 0.018)), height * (0.51 + rng.normal(0, 0.02)))
    return Pose(width, height, center, unit_px, rng.normal(0, 0.02))


def _burn_all(
    bare: Pixels,
    own: Sequence[Mark],
    neutral: Sequence[Mark],
    seed: int,
    plan: FilmPlan,
    site: str,
) -> tuple[Pixels, tuple[TextRegion, ...]]:
    """Return the film with a site's marks and the neutral ones, the same on all twins."""
    film, regions = bare, []
    for group, marks in ((site, own), ("neutral", neutral)):
        rng = _rng(seed, plan.pool, "marks", plan.index, group)
        for mark in marks:
            film, region = burn(film, mark, rng)
            regions.append(region)
    return film, tuple(regions)


@dataclass(frozen=True, slots=True)
class _Written:
    film: Film
    regions: FilmRegions
    truth: dict[str, object]
    counterfactuals: list[dict[str, object]]


def _write_film(folder: Path, seed: int, plan: FilmPlan) -> _Written:
    phantom = render_phantom(seed, plan)
    name = f"phantom-{plan.pool}-{plan.index:06d}.png"
    path = f"{plan.pool}/{name}"
    write_png(folder / path, phantom.marked)
    sha256 = hash_file(folder / path)
    image_id = sha256[:16]
    height, width = phantom.marked.shape
    label = CLASS_NAMES[plan.label_index]
    site_class, site = site_named(plan.site)
    source = f"site-{site.name}"
    patient = f"{source}:{plan.pool}-{label}-{plan.patient:05d}"
    film = Film(
        image_id, path, patient, label, source, site.view, plan.split, width, height,
        sha256, window_low=0, window_high=255,
    )  # fmt: skip
    truth: dict[str, object] = {
        "image_id": image_id, "path": path, "split": plan.split, "patient_id": patient,
        "label": label, "site": site.name, "site_class": site_class, "marker": phantom.marker,
        "n_texts": len(phantom.regions), "sign_strength": round(phantom.strength, 4),
    }  # fmt: skip
    twins: list[dict[str, object]] = []
    if plan.pool == "test":
        swapped_class = site_named(phantom.swapped_site)[0]
        for kind, pixels, twin_site, twin_class in (
            (TEXT_FREE, phantom.bare, "", ""),
            (TEXT_SWAPPED, phantom.swapped, phantom.swapped_site, swapped_class),
        ):
            twin_path = f"counterfactuals/{kind}/{name}"
            write_png(folder / twin_path, pixels)
            twins.append(
                {"image_id": image_id, "kind": kind, "path": twin_path,
                 "sha256": hash_file(folder / twin_path), "site": twin_site,
                 "site_class": twin_class}
            )  # fmt: skip
    regions = FilmRegions(image_id, width, height, phantom.regions)
    return _Written(film, regions, truth, twins)


def _in_parallel(
    plans: Sequence[FilmPlan], write: Callable[[FilmPlan], _Written], n_workers: int
) -> Iterator[_Written]:
    """Yield written films in order; they are made a few at a time."""
    chunk = n_workers * _AT_ONCE
    with ThreadPoolExecutor(n_workers) as pool:
        for k in range(math.ceil(len(plans) / chunk)):
            yield from pool.map(write, plans[k * chunk : (k + 1) * chunk])


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())

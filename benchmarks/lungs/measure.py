"""`covid-debug bench lungs`: Dice of the lung finder and of two yardsticks, in one table.

Yardsticks: the mean training film's lungs (knows nothing of the film) and Otsu's threshold
(everything dark, as it is). Intervals: bootstrap over patients.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lungs.annotations import ANNOTATIONS, AnnotatedLungs, load_annotations
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import hash_file, write_artifact
from covid_debug.data.filmset import FilmSet
from covid_debug.data.phantom import plan_pool, render_lungs, render_phantom
from covid_debug.errors import DataIntegrityError
from covid_debug.evaluation.statistics import cluster_bootstrap
from covid_debug.imaging.lungs import draw_atlas, find_lungs
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import read_film
from covid_debug.records import Film
from covid_debug.terminal import RunConsole

Gray = NDArray[np.uint8]
TABLE_NAME, SUMMARY_NAME = "lungs.csv", "lungs.md"
PHANTOM = "phantom"
_N_PHANTOMS, _PHANTOM_SEED = 60, 4242
_N_WORST, _N_RESAMPLES = 5, 2000
_COLUMNS = ("image_id", "patient", "source", "label", "use", "method", "dice", "covered", "seconds")


@dataclass(frozen=True, slots=True)
class LungScore:
    """What one method did on one film.

    Attributes:
        image_id: Film.
        patient: Whose.
        source: Where the film is from; :data:`PHANTOM` for phantoms.
        label: Class.
        use: What the film's annotation may serve for; ``"test"`` for phantoms.
        method: Name of the method.
        dice: Twice the shared pixels over the sum of both masks, in [0, 1].
        covered: Share of the true lung pixels that were found.
        seconds: Processor time.
    """

    image_id: str
    patient: str
    source: str
    label: str
    use: str
    method: str
    dice: float
    covered: float
    seconds: float


def threshold_by_otsu(film: Gray) -> Mask:
    """Return everything darker than Otsu's threshold."""
    level, _ = cv2.threshold(film, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(film <= level, np.bool_)


def lay_atlas(film: Gray) -> Mask:
    """Return the mean training film's lungs, whatever the film."""
    return draw_atlas(*film.shape)


METHODS: dict[str, Callable[[Gray], Mask]] = {
    "find_lungs": find_lungs,
    "fixed atlas": lay_atlas,
    "Otsu": threshold_by_otsu,
}


def bench_lungs(
    filmset: FilmSet, out: Path, console: RunConsole, annotations: Path = ANNOTATIONS
) -> list[LungScore]:
    """Score the lung finder and its yardsticks.

    Args:
        filmset: Data set that holds every annotated film.
        out: Folder to create, with ``lungs.csv`` (each film) and ``lungs.md`` (the tables).
        console: Where progress is shown.
        annotations: Lungs drawn by eye.

    Returns:
        One score a film and method.

    Raises:
        DataIntegrityError: If an annotated film is missing or of another size.
    """
    drawn = load_annotations(annotations)
    scores: list[LungScore] = []
    with console.progress("films") as progress:
        for done, (film, entry) in enumerate(_pair(filmset, drawn), 1):
            pixels = read_film(filmset.file_of(film)).to_uint8()
            scores += _score(film, entry.use, pixels, entry.drawn())
            progress(done, len(drawn))
    with console.progress("phantoms") as progress:
        for done, (film, pixels, lungs) in enumerate(_iter_phantoms(), 1):
            scores += _score(film, "test", pixels, lungs)
            progress(done, _N_PHANTOMS)
    parameters = {"annotations": hash_file(annotations), "methods": list(METHODS)}
    with write_artifact(out, kind="bench-lungs", parameters=parameters) as draft:
        rows = [{name: getattr(score, name) for name in _COLUMNS} for score in scores]
        write_csv(draft.path / TABLE_NAME, _COLUMNS, rows)
        text = describe_scores(scores) + describe_repeats(drawn)
        (draft.path / SUMMARY_NAME).write_text(text, encoding="utf-8")
    return scores


def measure_overlap(found: Mask, true: Mask) -> tuple[float, float]:
    """Return Dice and the share of ``true`` that was found."""
    shared = float((found & true).sum())
    return 2 * shared / float(found.sum() + true.sum()), shared / float(true.sum())


def _score(film: Film, use: str, pixels: Gray, lungs: Mask) -> list[LungScore]:
    scores = []
    for name, find in METHODS.items():
        start = time.process_time()
        found = find(pixels)
        seconds = time.process_time() - start
        dice, covered = measure_overlap(found, lungs)
        scores.append(
            LungScore(film.image_id, film.patient_id, film.source, film.label, use, name, dice,
                      covered, seconds)
        )  # fmt: skip
    return scores


def _pair(filmset: FilmSet, drawn: Iterable[AnnotatedLungs]) -> list[tuple[Film, AnnotatedLungs]]:
    films = {film.image_id: film for film in filmset.films}
    pairs = []
    for entry in drawn:
        film = films.get(entry.image_id)
        if film is None or (film.width, film.height) != (entry.width, entry.height):
            raise DataIntegrityError(
                f"{filmset.root}: film {entry.image_id} is missing or not {entry.width} x"
                f" {entry.height}; expected the data set that the lungs were drawn on"
            )
        if (entry.use == "test") != (film.split == "test"):
            raise DataIntegrityError(
                f"{filmset.root}: film {entry.image_id} is of the {film.split} split and its"
                f" annotation for {entry.use}; expected test films for test only"
            )
        pairs.append((film, entry))
    return pairs


def _iter_phantoms() -> Iterable[tuple[Film, Gray, Mask]]:
    plans = plan_pool(
        "test", _N_PHANTOMS, seed=_PHANTOM_SEED, text_correlation=1 / 3, val_share=0.0
    )
    for plan in plans:
        pixels = render_phantom(_PHANTOM_SEED, plan).marked
        name, label = f"phantom-{plan.index:03d}", str(plan.label_index)
        height, width = pixels.shape
        film = Film(name, "", f"{label}-{plan.patient}", label, PHANTOM, "PA", "test", width,
                    height, "", window_low=0, window_high=255)  # fmt: skip
        yield film, pixels, render_lungs(_PHANTOM_SEED, plan)


def describe_scores(scores: list[LungScore]) -> str:
    """Return the tables as Markdown."""
    test = [s for s in scores if s.use == "test" and s.source != PHANTOM]
    groups: list[tuple[str, list[LungScore]]] = [("test films", test)]
    groups += [(f"test: {name}", [s for s in test if s.source == name])
               for name in sorted({s.source for s in test})]  # fmt: skip
    groups += [(f"test: {name}", [s for s in test if s.label == name])
               for name in sorted({s.label for s in test})]  # fmt: skip
    groups += [(f"{use} films", [s for s in scores if s.use == use]) for use in ("choose", "fit")]
    groups.append(("phantoms", [s for s in scores if s.source == PHANTOM]))
    rows = [
        _summarise(name, [s for s in group if s.method == method])
        for name, group in groups if group
        for method in METHODS
    ]  # fmt: skip
    ours = sorted((s for s in test if s.method == "find_lungs"), key=lambda s: s.dice)
    worst = [
        {"film": s.image_id, "source": s.source, "class": s.label, "Dice": f"{s.dice:.3f}",
         "covered": f"{s.covered:.3f}"}
        for s in ours[:_N_WORST]
    ]  # fmt: skip
    return f"{to_markdown(rows)}\nWorst test films:\n\n{to_markdown(worst)}" if worst else ""


def _summarise(name: str, scores: list[LungScore]) -> dict[str, object]:
    sums = np.array([[score.dice, score.covered, 1.0] for score in scores])
    replicates = cluster_bootstrap(
        sums, [score.patient for score in scores], lambda s: s[:, :2] / s[:, 2:], seed=0,
        n_resamples=_N_RESAMPLES,
    )  # fmt: skip
    cells = []
    for column in range(2):
        low, high = np.quantile(replicates[:, column], (0.025, 0.975))
        cells.append(f"{sums[:, column].mean():.3f} [{low:.3f}, {high:.3f}]")
    return {
        "films": name, "n": len(scores), "method": scores[0].method, "Dice": cells[0],
        "lung covered": cells[1], "lowest Dice": f"{sums[:, 0].min():.3f}",
        "ms": f"{1000 * np.median([s.seconds for s in scores]):.0f}",
    }  # fmt: skip


def describe_repeats(drawn: Iterable[AnnotatedLungs]) -> str:
    """Return how far two drawings of the same film agree: what no method can be asked to beat."""
    twice = [
        measure_overlap(entry.drawn_again(), entry.drawn())[0] for entry in drawn if entry.again
    ]
    if not twice:
        return ""
    return (
        f"\nThe same {len(twice)} test films drawn twice: Dice {np.mean(twice):.3f},"
        f" lowest {min(twice):.3f}.\n"
    )

"""The scar probe: can a small classifier see where films were filled, and does that tell the class?

Owns the two questions and the warnings. It says what a probe of eight texture numbers can see; a
network may see more.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.patches import (
    FilledPlaces,
    PatchJob,
    find_filled_places,
    measure_patches,
)
from covid_debug.cleaning.verify import plan_jobs
from covid_debug.cleaning.workers import Job
from covid_debug.data.filmset import FilmSet
from covid_debug.evaluation.auc import weighted_auc
from covid_debug.evaluation.statistics import Estimate, summarise_replicates
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress
from covid_debug.ranges import check_range
from covid_debug.records import Flag
from covid_debug.seeding import derive_seed

_REMEDY: Final = (
    "clean with mask_shape: box and decoy_sets: 3; method: transplant makes the fills harder to see"
)
_N_DONORS: Final = 2
_MIN_SAMPLES: Final = 20

Rows = NDArray[np.float64]
Labels = NDArray[np.bool_]
Scorer = Callable[[Rows, Labels, Rows, "ProbeParams"], Rows]
"""Learns from rows and their labels, then scores further rows; higher is more likely positive."""


@dataclass(frozen=True, slots=True)
class ProbeParams:
    """How the probe is run.

    Attributes:
        max_films: Films that are looked at, drawn at random, the classes alike.
        n_folds: Folds of the cross-validation; a patient is in one fold only.
        n_trees: Trees of the random forest.
        n_resamples: Bootstrap resamples of patients.
        warn_above: An area under the curve whose lower bound is above this is reported.
        seed: Seed of every draw.
    """

    max_films: int = 400
    n_folds: int = 5
    n_trees: int = 100
    n_resamples: int = 500
    warn_above: float = 0.55
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range(self, "[1, inf)", "max_films", "n_trees", "n_resamples")
        check_range(self, "[2, inf)", "n_folds")
        check_range(self, "[0.5, 1)", "warn_above")


@dataclass(frozen=True, slots=True)
class _Samples:
    """Rows for one probe."""

    features: list[NDArray[np.float64]] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)

    def add(
        self, ones: Sequence[NDArray[np.float64]], others: Sequence[NDArray[np.float64]], who: str
    ) -> None:
        """Add the patches of one film."""
        self.features.extend((*ones, *others))
        self.positive.extend([True] * len(ones) + [False] * len(others))
        self.patients.extend([who] * (len(ones) + len(others)))

    def estimate(self, params: ProbeParams) -> Estimate:
        """Return the area under the curve."""
        return estimate_auc(self.features, self.positive, self.patients, params)


@dataclass(frozen=True, slots=True)
class ScarProbe:
    """What the probe found. Areas under the ROC curve: 0.5 is chance, 1 is certainty.

    Attributes:
        patch_auc: Filled patches against untouched ones of the same shape at places of the same
            film that are alike; held-out patients.
        calibration_auc: The same with nothing filled on either side, ideally 0.5.
        class_auc: Class -> that class against the others, from number, size and place of the
            fills alone; held-out patients.
        n_films: Films that were looked at.
        n_filled: Filled patches, and as many untouched ones.
        flags: Warnings, empty when the scars do not matter.
    """

    patch_auc: Estimate
    calibration_auc: Estimate
    class_auc: Mapping[str, Estimate]
    n_films: int
    n_filled: int
    flags: tuple[Flag, ...]


def probe_scars(
    cleaned: FilmSet,
    original: FilmSet,
    params: ProbeParams | None = None,
    *,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> ScarProbe:
    """Try to tell filled patches from untouched ones, and classes from the masks alone.

    Args:
        cleaned: A cleaned data set.
        original: The data set that it was made from.
        params: How to probe.
        n_workers: Processes.
        progress: Called with (films done, films in total).

    Returns:
        Areas under the curve with intervals over patients, and warnings.

    Raises:
        ArtifactError: If ``cleaned`` is not a cleaned data set.
        DataIntegrityError: If its provenance cannot be read.
    """
    params = params or ProbeParams()
    jobs = list(plan_jobs(draw_films(cleaned, params.max_films, params.seed), original))
    found = list(run_in_order(find_filled_places, jobs, n_workers, where="probe_scars"))
    pairs = [(job, places) for job, places in zip(jobs, found, strict=True) if places is not None]
    scar, calibration = _Samples(), _Samples()
    patch_jobs = pair_with_donors(pairs, params.seed)
    measured = run_in_order(measure_patches, patch_jobs, n_workers, where="probe_scars")
    for n_done, ((job, _), one) in enumerate(zip(pairs, measured, strict=True), start=1):
        scar.add(one.filled, one.matched, job.film.patient_id)
        calibration.add(one.untouched, one.untouched_matched, job.film.patient_id)
        if progress is not None:
            progress(n_done, len(pairs))
    patch_auc = scar.estimate(params)
    geometry = [places.geometry for _, places in pairs]
    film_patients = [job.film.patient_id for job, _ in pairs]
    class_auc = {
        name: estimate_auc(
            geometry, [job.film.label == name for job, _ in pairs], film_patients, params
        )
        for name in cleaned.class_names
    }
    return ScarProbe(
        patch_auc,
        calibration.estimate(params),
        class_auc,
        len(pairs),
        sum(scar.positive),
        raise_flags(patch_auc, class_auc, params.warn_above),
    )


def draw_films(filmset: FilmSet, max_films: int, seed: int) -> FilmSet:
    """Draw films at random, the classes alike.

    Args:
        filmset: A data set.
        max_films: About how many films; a class with fewer than its share gives all it has.
        seed: Seed of the draw.

    Returns:
        The same data set with fewer films, in their order.
    """
    by_class: dict[str, list[str]] = {name: [] for name in filmset.class_names}
    for film in filmset.films:
        by_class[film.label].append(film.image_id)
    generator = np.random.default_rng(derive_seed(seed, "scar films"))
    share = -(-max_films // len(by_class))
    chosen: set[str] = set()
    for members in by_class.values():
        take = min(share, len(members))
        chosen |= {members[i] for i in generator.choice(len(members), take, replace=False)}
    films = tuple(film for film in filmset.films if film.image_id in chosen)
    return dataclasses.replace(filmset, films=films)


def raise_flags(
    patch_auc: Estimate, class_auc: Mapping[str, Estimate], warn_above: float
) -> tuple[Flag, ...]:
    """Turn the areas under the curve into warnings.

    A scar is a shortcut only if it can be seen *and* its number, size or place tells the class.

    Args:
        patch_auc: Filled against untouched patches.
        class_auc: Class against the others from the masks.
        warn_above: Threshold for the lower bounds.

    Returns:
        At most one flag: critical when the fills can be seen and tell classes, a warning when only
        the masks tell classes, an info when the fills can be seen and are not shown to tell any,
        or when nothing is shown and something could not be measured. It names what was not.
    """
    is_visible = patch_auc.is_defined and patch_auc.low > warn_above
    measured = {name: value for name, value in class_auc.items() if value.is_defined}
    telling = {name: value for name, value in measured.items() if value.low > warn_above}
    seen = {"patch_auc": patch_auc.value, "patch_auc_low": patch_auc.low} if is_visible else {}
    gaps = _describe_gaps(patch_auc, class_auc)
    if telling:
        names = ", ".join(f"{name} (AUC {value.value:.2f})" for name, value in telling.items())
        sight = ""
        if is_visible:
            sight = f", and the fills can be seen (AUC {patch_auc.value:.2f})"
        elif patch_auc.is_defined:
            sight = ", though the probe is not shown to see the fills themselves"
        return (
            Flag(
                "scar_predicts_label" if is_visible else "masks_predict_label",
                "critical" if is_visible else "warning",
                "; ".join(
                    (
                        f"number, size and place of the fills tell the class: {names}{sight}",
                        *gaps,
                        f"a model may learn the cleaning; {_REMEDY}",
                    )
                ),
                {"classes": ", ".join(telling), **seen},
            ),
        )
    if is_visible:
        visible = f"filled places can be told from untouched ones (AUC {patch_auc.value:.2f})"
        blind = f"they are not shown to tell {', '.join(measured)} from the others"
        message = "; ".join((visible, *([blind] if measured else []), *gaps))
        return (Flag("scar_visible", "info", message, seen),)
    if gaps:
        return (Flag("scar_not_measured", "info", "; ".join(gaps), {}),)
    return ()


def _describe_gaps(patch_auc: Estimate, class_auc: Mapping[str, Estimate]) -> list[str]:
    """Say what could not be measured, and why: it is no finding that nothing is there."""
    gaps = []
    if not patch_auc.is_defined:
        gaps.append(f"whether the fills can be seen could not be measured ({patch_auc.reason})")
    missing = {name: value.reason for name, value in class_auc.items() if not value.is_defined}
    if missing:
        reasons = "; ".join(dict.fromkeys(missing.values()))
        names = ", ".join(missing)
        gaps.append(f"whether they tell the class could not be measured for {names} ({reasons})")
    return gaps


def estimate_auc(
    features: Sequence[NDArray[np.float64]],
    positive: Sequence[bool],
    patients: Sequence[str],
    params: ProbeParams,
    score: Scorer | None = None,
) -> Estimate:
    """Cross-validate a random forest over patients and bootstrap its AUC over patients.

    Args:
        features: One row a sample.
        positive: Which samples are to be found.
        patients: Patient of each sample; no patient is in training and test fold at once.
        params: Folds, trees, resamples and seed.
        score: What learns instead of the forest.

    Returns:
        The area under the ROC curve of held-out scores; undefined with the reason when there are
        fewer than 20 samples or too few patients of one kind.
    """
    labels = np.asarray(positive, np.bool_)
    n_groups = [len({p for p, y in zip(patients, labels, strict=True) if y == v}) for v in (0, 1)]
    if len(labels) < _MIN_SAMPLES or min(n_groups) < params.n_folds:
        return Estimate.undefined(
            len(labels),
            f"too few samples for the probe ({len(labels)} samples, {n_groups[1]} and "
            f"{n_groups[0]} patients)",
        )
    rows = np.stack(features)
    # Here, so that who only reads a proof does not load it.
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415

    folds = StratifiedGroupKFold(params.n_folds, shuffle=True, random_state=params.seed % 2**32)
    scores = np.zeros(len(labels))
    for train, test in folds.split(rows, labels, patients):
        if labels[train].all() or not labels[train].any():
            scores[test] = float(labels[train].mean())
            continue
        scores[test] = (score or _score_by_forest)(rows[train], labels[train], rows[test], params)
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    generator = np.random.default_rng(derive_seed(params.seed, "scar"))
    drawn = generator.integers(len(names), size=(params.n_resamples, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    replicates = weighted_auc(scores, labels, counts[:, index].astype(np.float64))
    value = float(weighted_auc(scores, labels, np.ones((1, len(labels))))[0])
    return summarise_replicates(
        value, replicates, n=len(labels), n_clusters=len(names), bounds=(0.0, 1.0)
    )


def _score_by_forest(rows: Rows, labels: Labels, further: Rows, params: ProbeParams) -> Rows:
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - see estimate_auc

    forest = RandomForestClassifier(
        params.n_trees,
        min_samples_leaf=3,
        class_weight="balanced",
        random_state=params.seed % 2**32,
        n_jobs=1,
    )
    forest.fit(rows, labels)
    scores: Rows = forest.predict_proba(further)[:, 1]
    return scores


def pair_with_donors(pairs: Sequence[tuple[Job, FilledPlaces]], seed: int) -> Iterator[PatchJob]:
    """Give each film the filled places of two other films, to be looked at where it is untouched.

    Args:
        pairs: Films with their own filled places.
        seed: Seed of the draw.

    Yields:
        One job for each film, in their order.
    """
    donors = [at for at, (_, places) in enumerate(pairs) if places.holes]
    for at, (job, own) in enumerate(pairs):
        others = [other for other in donors if other != at]
        generator = np.random.default_rng(derive_seed(seed, job.film.image_id, "scar donors"))
        n_taken = min(_N_DONORS, len(others))
        taken = generator.permutation(len(others))[:n_taken]
        yield PatchJob(job, own, tuple(pairs[others[i]][1] for i in taken), seed)

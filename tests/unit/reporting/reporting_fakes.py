"""Made-up artifacts of a finished run, for tests of the report."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import write_artifact
from covid_debug.audit.artifact import AuditedFilm
from covid_debug.audit.calibration import (
    CALIBRATION_KIND,
    FlagCalibration,
    TruthCounts,
    write_calibration,
)
from covid_debug.audit.confounds import CONFOUNDS_KIND, Confound, write_confounds
from covid_debug.cleaning.proof import PROOF_KIND, CleaningProof, write_proof
from covid_debug.cleaning.residual import ResidualScan
from covid_debug.cleaning.scar import ScarProbe
from covid_debug.data.filmset import FilmSet, load_filmset, write_films
from covid_debug.evaluation.comparison import (
    COMPARISON_KIND,
    Cell,
    Comparison,
    Contrast,
    Design,
    Footing,
    PooledDifference,
    Row,
    write_comparison,
)
from covid_debug.evaluation.questions import PrimaryAnswer, Question
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import write_regions
from covid_debug.imaging.writing import write_png
from covid_debug.records import Film, FilmRegions, Flag, TextRegion
from covid_debug.reporting.stage import ReportRequest
from tests.audits import make_audited, write_made_up_audit
from tests.films import recorded

CLASSES = ("normal", "pneumonia", "COVID-19")
VIEW = ViewSpec(image_size=32)
VERDICT_CYCLE = ("text_driven", "not_text_driven", "text_sensitive", "inconclusive")


def draw_film(i: int, text: int = 250) -> NDArray[np.uint8]:
    """A gray film of 40 x 50 pixels with a bright or other text."""
    pixels = np.full((50, 40), 40 + 10 * i, np.uint8)
    pixels[20:26, 5:15] = text
    return pixels


def make_filmset(
    folder: Path,
    n: int = 4,
    *,
    label: str = "COVID-19",
    name: str = "f",
    draw: Callable[[int], NDArray[np.uint8]] = draw_film,
) -> FilmSet:
    films = []
    with write_artifact(folder, kind="filmset") as draft:
        draft.facts.update(
            {"name": "fake", "class_names": sorted({*CLASSES, label}), "n_ok": n, "n_total": n + 1}
        )
        (draft.path / "test").mkdir()
        for i in range(n):
            pixels = draw(i)
            write_png(draft.path / "test" / f"{name}{i}.png", pixels)
            image_id = f"{i:016x}"
            films.append(
                Film(
                    image_id,
                    f"test/{name}{i}.png",
                    f"s:{i}",
                    label,
                    "cohen",
                    "PA",
                    "test",
                    pixels.shape[1],
                    pixels.shape[0],
                    *recorded(draft.path / "test" / f"{name}{i}.png"),
                )
            )
        write_films(draft.path, films)
    return load_filmset(folder)


def make_regions(path: Path, filmset: FilmSet) -> None:
    text = TextRegion(((5, 20), (15, 20), (15, 26), (5, 26)), 0.9, "R", "rapidocr")
    write_regions(
        path, [FilmRegions(f.image_id, f.width, f.height, (text,)) for f in filmset.films]
    )


def make_verdict(film: Film, verdict: str, drop: float, **changes: object) -> AuditedFilm:
    values = {"path": film.path, "label": film.label, "verdict": verdict, **changes}
    return make_audited(film.image_id, drop=drop, **values)


def make_audit(folder: Path, filmset: FilmSet, *, baseline: str = "blur") -> None:
    films = [
        make_verdict(
            film,
            VERDICT_CYCLE[i % len(VERDICT_CYCLE)],
            0.6 / (1 + i),
            explained=i % 2 == 0,
            baseline=baseline,
        )
        for i, film in enumerate(filmset.films)
    ]
    write_made_up_audit(folder, films)


KEYS = [("all", "accuracy"), ("all", "macro_f1")]
KEYS += [(name, metric) for name in CLASSES for metric in ("precision", "recall", "f1")]


def make_row(
    arm: str,
    seed: int | str,
    value: float,
    *,
    test: str = "original",
    low: float | None = None,
    high: float | None = None,
    name: str = "all",
    metric: str = "accuracy",
    n: int = 10,
) -> Row:
    return Row(
        train_data=arm,
        test_data=test,
        seed=seed,
        class_name=name,
        metric=metric,
        value=value,
        low=value if low is None else low,
        high=value if high is None else high,
        n=n,
    )


def make_contrast(
    entries: Sequence[PooledDifference], *, arm: str = "cleaned", test: str = "original"
) -> Contrast:
    return Contrast(
        train_data=arm, against="original", test_data=test, per_seed={}, pooled=tuple(entries)
    )


def make_difference(
    mean: float,
    *,
    name: str = "all",
    metric: str = "accuracy",
    p: float = math.nan,
    n: int = 10,
    n_seeds: int = 2,
) -> PooledDifference:
    return PooledDifference(
        class_name=name,
        metric=metric,
        mean=mean,
        sd=math.nan,
        low=mean - (0.04 if n == 120 else 0.05),
        high=mean + 0.05,
        n=n,
        n_seeds=n_seeds,
        mcnemar_p=p,
    )


QUESTION = Question(
    name="text_free",
    words="Does it help?",
    arm="cleaned",
    against="original",
    test_data="text_free",
)


def make_answer(
    verdict: str = "improved",
    *,
    question: Question = QUESTION,
    n_seeds: int = 3,
    p_holm: float = 0.012,
    smallest: float = 0.095,
) -> PrimaryAnswer:
    is_missing = verdict == "not measured"
    value, low, high = (math.nan,) * 3 if is_missing else (0.12, 0.04, 0.19)
    return PrimaryAnswer(
        question=question,
        value=value,
        low=low,
        high=high,
        n=120,
        n_patients=100,
        n_seeds=0 if is_missing else n_seeds,
        by_seed=() if is_missing else (0.12,) * n_seeds,
        p=math.nan if is_missing else p_holm / 2,
        p_holm=math.nan if is_missing else p_holm,
        smallest=math.nan if is_missing else smallest,
        verdict=verdict,
        reason="no arm 'placebo'" if is_missing else "",
    )


def make_footing(
    arm: str,
    value: float,
    from_source: float,
    *,
    test: str = "original",
    above_chance: bool = True,
    above_source: bool | None = None,
) -> Footing:
    over = value - from_source
    return Footing(
        train_data=arm,
        test_data=test,
        balanced_accuracy=Estimate(value, value - 0.05, value + 0.05, 120),
        chance=1 / 3,
        from_source=from_source,
        over_source=Estimate(over, over - 0.1, over + 0.1, 120),
        is_above_chance=above_chance,
        is_above_source=above_source,
    )


def make_comparison(
    tests: tuple[str, ...] = ("original", "cleaned"),
    seeds: tuple[int, ...] = (0, 1),
    class_names: tuple[str, ...] = CLASSES,
) -> Comparison:
    rows = []
    for arm, base in (("original", 0.7), ("cleaned", 0.8)):
        for k, test in enumerate(tests):
            for seed in (*seeds, "pooled"):
                for i, (name, metric) in enumerate(KEYS):
                    value = base - 0.05 * k * (arm == "original") + 0.004 * i
                    ends = {"low": value - 0.06, "high": value + 0.05, "n": 120}
                    key = {"test": test, "name": name, "metric": metric}
                    rows.append(make_row(arm, seed, value, **ends, **key))
    shifts = (0.1, 0.01, -0.09)
    one = len(seeds) == 1
    entries = [
        make_difference(
            shifts[i % 3],
            name=name,
            metric=metric,
            p=0.01 if one and metric == "accuracy" else math.nan,
            n=120,
            n_seeds=len(seeds),
        )
        for i, (name, metric) in enumerate(KEYS)
    ]
    return Comparison(
        class_names=class_names,
        rows=tuple(rows),
        cells=tuple(make_cell(a, t, class_names) for a in ("original", "cleaned") for t in tests),
        contrasts=tuple(make_contrast(entries, test=test) for test in tests),
        design=Design(
            arms=("original", "cleaned"),
            tests=tests,
            seeds=dict.fromkeys(("original", "cleaned"), seeds),
            n_films=dict.fromkeys(tests, 120),
            n_patients=dict.fromkeys(tests, 100),
            alpha=0.05,
            n_resamples=1000,
        ),
        questions=(
            make_answer("one seed: no verdict" if one else "improved", n_seeds=len(seeds)),
            make_answer("not measured", question=replace(QUESTION, name="beyond_placebo")),
        ),
        footing=tuple(make_footing(arm, 0.7, 0.5) for arm in ("original", "cleaned")),
    )


def make_cell(arm: str, test: str, class_names: tuple[str, ...] = CLASSES) -> Cell:
    return Cell(
        train_data=arm,
        test_data=test,
        seed=0,
        n_ok=120,
        n_total=120,
        class_names=class_names,
        n_patients=100,
        confusion=((40, 3, 2), (5, 30, 9), (1, 4, 26)),
        metrics=(),
    )


COMPARISON = make_comparison()


def make_confound(name: str, description: str, value: float, low: float, high: float) -> Confound:
    macro_f1 = Estimate(value, low, high, 120)
    return Confound(name, description, value, low, high, 120, 120, macro_f1, 0.41, None)


BASELINES = (
    make_confound("Source only", "majority label of the film's source", 0.91, 0.86, 0.95),
    make_confound("Text only", "number, size and place of the text regions", 0.62, 0.53, 0.7),
)
CALIBRATION = FlagCalibration(
    precision=Estimate(0.9, 0.7, 0.97, 20),
    recall=Estimate(0.75, 0.55, 0.88, 24),
    recall_audited=Estimate(0.75, 0.55, 0.88, 24),
    recall_driven_or_sensitive=Estimate(0.75, 0.55, 0.88, 24),
    n_predicted=70,
    n_audited=60,
    n_flagged=20,
    n_changed=24,
    n_right=18,
    by_verdict={"text_driven": TruthCounts(18, 2), "not_audited": TruthCounts(6, 4)},
    definition="A prediction changes when the text-free film gets another class.",
)


def make_proof(folder: Path) -> None:
    share, area = Estimate(0.1, 0.05, 0.2, 40), Estimate(0.8, 0.7, 0.9, 40)
    none = Estimate.undefined(3, "too few samples")
    per_class = dict.fromkeys(CLASSES, share)
    message = "number, size and place of the fills tell the class; clean with decoy_sets: 3"
    flags = (
        Flag("scar_predicts_label", "critical", message),
        Flag("scar_visible", "info", "seen"),
    )
    residual = ResidualScan(
        *("strokes", True, share, share, share, per_class, per_class, per_class, 40, 1, (), ())
    )
    per_mask = {"normal": area, "pneumonia": none, "COVID-19": area}
    scars = ScarProbe(area, none, per_mask, 40, 50, flags)
    with write_artifact(folder, kind=PROOF_KIND) as draft:
        write_proof(draft.path, CleaningProof(None, residual, scars, 90))


def keep(folder: Path, kind: str, write: Callable[[Path, object], None], value: object) -> Path:
    """Write what was made up as an artifact; None stays None."""
    if value is None:
        return None
    with write_artifact(folder / f"{kind}-1", kind=kind) as draft:
        write(draft.path, value)
    return folder / f"{kind}-1"


def make_request(
    folder: Path,
    n: int = 4,
    *,
    baseline: str = "blur",
    comparison: Comparison | None = COMPARISON,
    confounds: tuple[Confound, ...] | None = BASELINES,
    calibration: FlagCalibration | None = None,
    **changes: object,
) -> ReportRequest:
    original = make_filmset(folder / "films-1", n)
    make_filmset(folder / "cleaned-1", n)
    (folder / "regions-1").mkdir()
    make_regions(folder / "regions-1" / "regions.jsonl", original)
    make_audit(folder / "audit-1", original, baseline=baseline)
    values = {
        "title": "demo",
        "filmset": folder / "films-1",
        "regions": folder / "regions-1",
        "view": VIEW,
        "cleaned": folder / "cleaned-1",
        "audit": folder / "audit-1",
        "audits": {(arm, 0): folder / "audit-1" for arm in ("original", "cleaned")},
        "comparison": keep(folder, COMPARISON_KIND, write_comparison, comparison),
        "confounds": keep(folder, CONFOUNDS_KIND, write_confounds, confounds),
        "calibration": keep(folder, CALIBRATION_KIND, write_calibration, calibration),
        "config": {"name": "demo"},
        "command": "covid-debug run configs/demo.yaml",
    }
    return ReportRequest(**{**values, **changes})

"""Made-up artifacts of a finished run, for tests of the report."""

import json
from pathlib import Path

import numpy as np

from covid_debug.artifacts import write_artifact, write_text_atomic
from covid_debug.data.filmset import FilmSet, load_filmset, write_films
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import write_regions
from covid_debug.imaging.writing import write_png
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.reporting.inputs import ReportInputs
from tests.films import recorded

CLASSES = ("normal", "pneumonia", "COVID-19")
VIEW = ViewSpec(image_size=32)
VERDICT_CYCLE = ("text_driven", "not_text_driven", "text_sensitive", "inconclusive")


def make_filmset(folder: Path, n: int = 4, *, label: str = "COVID-19", name: str = "f") -> FilmSet:
    films = []
    with write_artifact(folder, kind="filmset") as draft:
        draft.facts.update(
            {"name": "fake", "class_names": sorted({*CLASSES, label}), "n_ok": n, "n_total": n + 1}
        )
        (draft.path / "test").mkdir()
        for i in range(n):
            pixels = np.full((50, 40), 40 + 10 * i, np.uint8)
            pixels[20:26, 5:15] = 250
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
                    40,
                    50,
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


def make_verdict(
    film: Film, verdict: str, drop: float, *, explained: bool, baseline: str = "blur"
) -> dict[str, object]:
    return {
        "image_id": film.image_id,
        "path": film.path,
        "label": film.label,
        "source": film.source,
        "view": film.view,
        "split": film.split,
        "predicted_class": "COVID-19",
        "target_class": "COVID-19",
        "probability": 0.95,
        "probabilities": {"normal": 0.03, "pneumonia": 0.02, "COVID-19": 0.95},
        "text_area_share": 0.03,
        "interventions": {
            "text_removed": 0.95 - drop,
            "text_revealed": 0.5,
            "blurred": 0.1,
            "null_removed": [0.94, 0.9, 0.93],
            "null_revealed": [0.1, 0.12, 0.2],
        },
        "baseline": baseline,
        "cleaned_class": "normal" if drop > 0.4 else "COVID-19",
        "saliency": {
            "enrichment": 6.2,
            "mass_in_text": 0.2,
            "insertion_top6": 0.8,
            "deletion_top12": 0.2,
            "void": False,
            "void_reason": None,
            "n_evaluations": 900,
        }
        if explained
        else None,
        "verdict": verdict,
        "p_value": 0.01,
        "q_value": 0.03,
        "reasons": ["p falls by 0.60 without the text; the nulls fall by at most 0.05"],
    }


def make_audit(folder: Path, filmset: FilmSet, *, size: int = 32, baseline: str = "blur") -> None:
    rng = np.random.default_rng(0)
    with write_artifact(folder, kind="audit") as draft:
        (draft.path / "maps").mkdir()
        lines = []
        for i, film in enumerate(filmset.films):
            explained = i % 2 == 0
            verdict = VERDICT_CYCLE[i % len(VERDICT_CYCLE)]
            drop = 0.6 / (1 + i)
            lines.append(make_verdict(film, verdict, drop, explained=explained, baseline=baseline))
            if explained:
                saliency = rng.random((size, size)).astype(np.float16)
                np.save(draft.path / "maps" / f"{film.image_id}.npy", saliency)
        write_text_atomic(
            draft.path / "verdicts.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
        )
        write_text_atomic(draft.path / "summary.json", json.dumps({"baseline": baseline}))


KEYS = [("all", "accuracy"), ("all", "macro_f1")]
KEYS += [(name, metric) for name in CLASSES for metric in ("precision", "recall", "f1")]


def make_comparison(
    tests: tuple[str, ...] = ("original", "cleaned"), seeds: tuple[int, ...] = (0, 1)
) -> list[dict[str, object]]:
    rows = []
    for arm, base in (("original", 0.7), ("cleaned", 0.8)):
        for k, test in enumerate(tests):
            for seed in (*seeds, "pooled"):
                for i, (name, metric) in enumerate(KEYS):
                    value = base - 0.05 * k * (arm == "original") + 0.004 * i
                    rows.append(
                        {
                            "train_data": arm,
                            "test_data": test,
                            "seed": seed,
                            "class_name": name,
                            "metric": metric,
                            "value": value,
                            "low": value - 0.06,
                            "high": value + 0.05,
                            "n": 120,
                        }
                    )
    return rows


def make_contrasts(
    tests: tuple[str, ...] = ("original", "cleaned"), n_seeds: int = 2
) -> list[dict[str, object]]:
    verdicts = ("improved", "no evidence", "worse")
    shifts = (0.1, 0.01, -0.09)
    return [
        {
            "train_data": "cleaned",
            "against": "original",
            "test_data": test,
            "pooled": [
                {
                    "class_name": name,
                    "metric": metric,
                    "mean": shifts[i % 3],
                    "low": shifts[i % 3] - 0.04,
                    "high": shifts[i % 3] + 0.05,
                    "n": 120,
                    "n_seeds": n_seeds,
                    "mcnemar_p": 0.01 if n_seeds == 1 and metric == "accuracy" else None,
                    "verdict": verdicts[i % 3] if n_seeds > 1 else "one seed: no verdict",
                }
                for i, (name, metric) in enumerate(KEYS)
            ],
        }
        for test in tests
    ]


def make_confusions(tests: tuple[str, ...] = ("original", "cleaned")) -> list[dict[str, object]]:
    return [
        {
            "train_data": arm,
            "test_data": test,
            "seed": 0,
            "class_names": list(CLASSES),
            "matrix": [[40, 3, 2], [5, 30, 9], [1, 4, 26]],
        }
        for arm in ("original", "cleaned")
        for test in tests
    ]


BASELINES = [
    {
        "name": "Source only",
        "description": "majority label of the film's source",
        "value": 0.91,
        "low": 0.86,
        "high": 0.95,
        "n": 120,
        "chance": 0.41,
    },
    {
        "name": "Text only",
        "description": "logistic regression on number, size and place of the text regions",
        "value": 0.62,
        "low": 0.53,
        "high": 0.7,
        "n": 120,
        "chance": 0.41,
    },
]
CALIBRATION = {
    "precision": {"value": 0.9, "low": 0.7, "high": 0.97, "n": 20},
    "recall": {"value": 0.75, "low": 0.55, "high": 0.88, "n": 24},
    "n_audited": 60,
    "n_flagged": 20,
    "n_changed": 24,
    "definition": "A prediction changes when the text-free film gets another class.",
}


def make_proof(folder: Path) -> None:
    share = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 40, "reason": ""}
    area = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40, "reason": ""}
    none = {"value": None, "low": None, "high": None, "n": 3, "reason": "too few samples"}
    per_class = dict.fromkeys(CLASSES, share)
    scar_flags = [
        {
            "rule": "scar_predicts_label",
            "severity": "critical",
            "message": "number, size and place of the fills tell the class; clean with"
            " decoy_sets: 3",
            "evidence": {},
        },
        {"rule": "scar_visible", "severity": "info", "message": "seen", "evidence": {}},
    ]
    content = {
        "n_total": 90,
        "lines": ["residual text"],
        "flags": scar_flags,
        "verification": None,
        "residual": {
            "detector": "strokes",
            "is_independent": True,
            "share": share,
            "share_in_filled": share,
            "share_before": share,
            "by_class": per_class,
            "by_class_before": per_class,
            "by_class_in_filled": per_class,
            "n_scanned": 40,
            "n_failed": 1,
            "films": [],
            "flags": [],
        },
        "scars": {
            "patch_auc": area,
            "calibration_auc": none,
            "class_auc": {"normal": area, "pneumonia": none, "COVID-19": area},
            "n_films": 40,
            "n_filled": 50,
            "flags": scar_flags,
        },
    }
    with write_artifact(folder, kind="cleaning-proof") as draft:
        write_text_atomic(draft.path / "proof.json", json.dumps(content))


def make_inputs(
    folder: Path, n: int = 4, *, baseline: str = "blur", **changes: object
) -> ReportInputs:
    original = make_filmset(folder / "films-1", n)
    make_filmset(folder / "cleaned-1", n)
    (folder / "regions-1").mkdir()
    make_regions(folder / "regions-1" / "regions.jsonl", original)
    make_audit(folder / "audit-1", original, baseline=baseline)
    values = {
        "title": "demo",
        "filmset": folder / "films-1",
        "regions": folder / "regions-1" / "regions.jsonl",
        "view": VIEW,
        "cleaned": folder / "cleaned-1",
        "audit": folder / "audit-1",
        "comparison": make_comparison(),
        "contrasts": make_contrasts(),
        "confusions": make_confusions(),
        "baselines": BASELINES,
        "config": {"name": "demo", "seeds": [0]},
        "command": "covid-debug run configs/demo.yaml",
    }
    return ReportInputs(**{**values, **changes})

"""The machine-readable results of a run: flags.csv, comparison.csv, summary.json.

Their columns and keys are stable; docs/reference/files.md lists them.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from covid_debug.data.filmset import FilmSet
from covid_debug.evaluation.statistics import Estimate, nan_to_none
from covid_debug.records import SPLITS, Film, FilmRegions
from covid_debug.reporting.comparison import ComparisonTable
from covid_debug.reporting.inputs import ReportInputs, Row
from covid_debug.reporting.verdicts import VERDICTS, AuditedFilm
from covid_debug.text.statistics import count_by_group

SUMMARY_VERSION = 1
COMPARISON_COLUMNS = (
    *("train_data", "test_data", "seed", "class_name", "metric"),
    *("value", "low", "high", "n"),
)
FLAG_COLUMNS = (
    *("image_id", "path", "patient_id", "label", "source", "view", "split", "n_regions"),
    *("predicted_class", "target_class", "probability", "text_area_share"),
    *("text_removed", "drop", "text_revealed", "blurred"),
    *("null_removed_min", "null_removed_max", "null_revealed_min", "null_revealed_max", "n_nulls"),
    *("cleaned_class", "enrichment", "mass_in_text", "insertion_top6", "deletion_top12"),
    *("saliency_void", "void_reason", "verdict", "direction", "p_value", "q_value", "reasons"),
    *("error", "has_card", "baseline"),
)


def write_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a table as CSV text; None becomes an empty cell, floats keep six digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def flag_rows(
    audited: Sequence[AuditedFilm],
    films: Mapping[str, Film],
    regions: Mapping[str, FilmRegions],
    with_card: set[str],
) -> list[dict[str, Any]]:
    """Return one row an audited film, most severe first.

    Args:
        audited: The audit.
        films: Image id -> film.
        regions: Image id -> text regions.
        with_card: Image ids that the report shows.

    Returns:
        Rows with the columns :data:`FLAG_COLUMNS`.
    """
    rows = []
    for entry in audited:
        film = films.get(entry.image_id)
        after = entry.interventions
        removed, revealed = after.get("null_removed") or (), after.get("null_revealed") or ()
        saliency = entry["saliency"] or {}
        rows.append(
            {
                **{key: entry[key] for key in FLAG_COLUMNS if key in entry.record},
                "patient_id": film.patient_id if film else None,
                "n_regions": _n_regions(regions.get(entry.image_id)),
                "text_removed": after.get("text_removed"),
                "drop": entry.drop,
                "text_revealed": after.get("text_revealed"),
                "blurred": after.get("blurred"),
                "null_removed_min": min(removed, default=None),
                "null_removed_max": max(removed, default=None),
                "null_revealed_min": min(revealed, default=None),
                "null_revealed_max": max(revealed, default=None),
                "n_nulls": len(removed),
                "enrichment": saliency.get("enrichment"),
                "mass_in_text": saliency.get("mass_in_text"),
                "insertion_top6": saliency.get("insertion_top6"),
                "deletion_top12": saliency.get("deletion_top12"),
                "saliency_void": saliency.get("void"),
                "void_reason": saliency.get("void_reason"),
                "reasons": "; ".join(entry["reasons"] or ()),
                "has_card": entry.image_id in with_card,
            }
        )
    return rows


def _n_regions(found: FilmRegions | None) -> int | None:
    return None if found is None or found.error else len(found.regions)


def summarise(
    inputs: ReportInputs,
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    audited: Sequence[AuditedFilm],
    audit_counts: Row,
    table: ComparisonTable,
    headlines: Sequence[str],
    n_cards: int,
    proof: Row | None = None,
) -> dict[str, Any]:
    """Return the content of ``summary.json``.

    Args:
        inputs: What the report is made from.
        filmset: The original films.
        regions: Image id -> text regions.
        audited: The audit.
        audit_counts: The audit's own summary.
        table: The comparison.
        headlines: Sentences for the reader.
        n_cards: Films shown as cards.
        proof: The proof of cleaning, or None.

    Returns:
        Plain values; the keys are stable.
    """
    verdicts = Counter(film.verdict for film in audited)
    films = filmset.films
    return {
        "schema_version": SUMMARY_VERSION,
        "title": inputs.title,
        "headlines": list(headlines),
        "films": {
            "n_total": filmset.n_total,
            "n_ok": len(filmset.films),
            "class_names": list(filmset.class_names),
            "by_split": {split: len(filmset.select(split)) for split in SPLITS},
        },
        "text": {
            "n_scanned": len(regions),
            "n_failed": sum(found.error is not None for found in regions.values()),
            "n_films_with_text": sum(bool(found.regions) for found in regions.values()),
            "n_regions": sum(len(found.regions) for found in regions.values()),
            "by_source": _count_text(regions, {film.image_id: film.source for film in films}),
            "by_class": _count_text(regions, {film.image_id: film.label for film in films}),
        },
        "proof": None if proof is None else _summarise_proof(proof),
        "audit": {
            "target_class": audited[0]["target_class"] if audited else None,
            "n_predicted_target": audit_counts.get("n_predicted_target"),
            "n_audited": len(audited),
            "not_audited": dict(audit_counts.get("not_audited", {})),
            "n_cards": n_cards,
            "verdicts": {verdict: verdicts.get(verdict, 0) for verdict in VERDICTS},
        },
        "comparison": {
            f"{arm}/{test}": {
                f"{name}/{metric}": estimate_json(estimate)
                for (name, metric), estimate in cell.items()
            }
            for (arm, test), cell in sorted(table.cells.items())
        },
        "differences": {
            f"{arm}-original/{test}": {
                f"{name}/{metric}": {
                    **estimate_json(difference.estimate),
                    "mcnemar_p": nan_to_none(difference.p_value),
                    "verdict": difference.verdict,
                }
                for (name, metric), difference in cell.items()
            }
            for (arm, test), cell in sorted(table.differences.items())
        },
        "n_seeds": table.n_seeds,
        "baselines": [dict(row) for row in inputs.baselines],
        "calibration": None if inputs.calibration is None else dict(inputs.calibration),
    }


def _count_text(
    regions: Mapping[str, FilmRegions], group_of: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [group.to_json() for group in count_by_group(regions.values(), group_of)]


def _summarise_proof(proof: Row) -> dict[str, Any]:
    residual, scars = proof["residual"], proof["scars"]
    return {
        "n_total": proof["n_total"],
        "n_scanned": residual["n_scanned"],
        "detector": residual["detector"],
        "is_independent": residual["is_independent"],
        "text_before": residual["share_before"],
        "residual_text": residual["share"],
        "residual_text_in_filled": residual["share_in_filled"],
        "residual_text_by_class": residual["by_class"],
        "scar_auc": scars["patch_auc"],
        "mask_auc": scars["class_auc"],
        "flags": [flag["rule"] for flag in proof["flags"]],
    }


def estimate_json(estimate: Estimate) -> dict[str, float | int | None]:
    """Return ``value, low, high, n``; undefined numbers are None."""
    return {
        "value": nan_to_none(estimate.value),
        "low": nan_to_none(estimate.low),
        "high": nan_to_none(estimate.high),
        "n": estimate.n,
    }

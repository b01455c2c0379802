"""Counts and intervals over the verdicts of an audit.

Owns the content of ``summary.json``; it reads records and judges nothing anew.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covid_debug.audit.verdicts import VERDICTS
from covid_debug.evaluation.statistics import paired_bootstrap_difference

Record = Mapping[str, Any]


def summarise_audit(
    records: Sequence[Record],
    patients: Sequence[str],
    excluded: Mapping[str, str],
    *,
    n_films: int,
    n_unreadable: int,
    target_class: str,
    target_index: int,
    baseline: str,
    seed: int,
) -> dict[str, Any]:
    """Summarise an audit.

    Args:
        records: One per audited film, as in ``verdicts.jsonl``.
        patients: Patient of each record.
        excluded: ``image_id`` -> why a film predicted as the target was not audited.
        n_films: Films asked for.
        n_unreadable: Of them, films that could not be read at all.
        target_class: Audited class.
        target_index: Its index in the model.
        baseline: What stood for "nothing", see ``choose_baseline``.
        seed: Seed of the bootstrap.

    Returns:
        Plain values for JSON.
    """
    n_predicted = len(records) + len(excluded)
    counts = Counter(str(record["verdict"]) for record in records)
    ok = [i for i, record in enumerate(records) if record["error"] is None]
    before = [float(records[i]["probability"]) for i in ok]
    after = [float(records[i]["interventions"]["text_removed"]) for i in ok]
    drop = paired_bootstrap_difference(
        np.array(after), np.array(before), [patients[i] for i in ok], seed=seed
    )
    return {
        "target_class": target_class,
        "target_index": target_index,
        "baseline": baseline,
        "n_films": n_films,
        "n_unreadable": n_unreadable,
        "n_predicted_target": n_predicted,
        "n_audited": len(records),
        "n_failed": len(records) - len(ok),
        "not_audited": dict(sorted(Counter(map(_kind, excluded.values())).items())),
        "verdicts": {name: counts[name] for name in VERDICTS},
        "mean_drop": drop.to_json(),
        "directions": dict(sorted(Counter(str(r["direction"]) for r in records).items())),
        "n_text_alone_suffices": sum(bool(record["text_suffices"]) for record in records),
        "by_label": _crosstab(records, "label"),
        "by_source": _crosstab(records, "source"),
        "saliency": {
            reason: _summarise_maps([r for r in records if r["explained_because"] == reason])
            for reason in ("suspected", "control")
        },
    }


def _kind(reason: str) -> str:
    return reason.split(":", maxsplit=1)[0]


def _crosstab(records: Sequence[Record], key: str) -> dict[str, dict[str, int]]:
    table: dict[str, Counter[str]] = {}
    for record in records:
        table.setdefault(str(record[key]), Counter())[str(record["verdict"])] += 1
    return {name: {v: table[name][v] for v in VERDICTS} for name in sorted(table)}


def _summarise_maps(records: Sequence[Record]) -> dict[str, Any]:
    maps = [record["saliency"] for record in records if record["saliency"] is not None]
    valid = [m for m in maps if not m["void"]]
    enrichments = [m["enrichment"] for m in valid if m["enrichment"] is not None]
    median = float(np.median(enrichments)) if enrichments else math.nan
    return {
        "n_explained": len(maps),
        "n_void": len(maps) - len(valid),
        "median_enrichment": None if math.isnan(median) else round(median, 6),
        "n_top6_restores": sum(m["insertion_restores"] for m in valid),
        "n_top12_loses": sum(m["deletion_loses"] for m in valid),
    }

"""The audit's flags against known truth.

On phantom films the same film exists without its text, so it is known whether a prediction really
changes. Owns the comparison; the films come from :mod:`covid_debug.data.counterfactuals`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covid_debug.audit.artifact import SUMMARY_NAME, VERDICTS_NAME
from covid_debug.errors import ArtifactError
from covid_debug.evaluation.comparison import BASE_ARM, FilmPredictions
from covid_debug.evaluation.statistics import wilson_interval

FLAGGED = "text_driven"
SUSPICIOUS = frozenset({"text_driven", "text_sensitive"})
TEXT_FREE = "text_free"
DEFINITION = (
    "A prediction really changes if the model leaves the audited class on the generator's own copy"
    " of the film without text."
)


def measure_flags(
    records: Sequence[Mapping[str, Any]], truth: Mapping[str, bool]
) -> dict[str, Any]:
    """Count how often a flag is right and how many real changes are flagged.

    Args:
        records: Lines of ``verdicts.jsonl``.
        truth: ``image_id`` -> whether the prediction really changes without text, for every film
            that is predicted as the audited class. A film that was not audited (its text was
            overlooked, or lies outside the view) counts as not flagged.

    Returns:
        ``precision`` and ``recall`` of the verdict ``text_driven`` (recall over all films of
        ``truth``), ``recall_audited``, ``recall_driven_or_sensitive``, each with a Wilson
        interval; counts; and a table of verdicts by truth.
    """
    verdicts = {str(r["image_id"]): str(r["verdict"]) for r in records if r["image_id"] in truth}
    flagged = {image_id for image_id, verdict in verdicts.items() if verdict == FLAGGED}
    changed = {image_id for image_id, changes in truth.items() if changes}
    changed_and_audited = changed & verdicts.keys()
    n_right = len(flagged & changed)
    table: dict[str, dict[str, int]] = {}
    for image_id, changes in truth.items():
        row = table.setdefault(verdicts.get(image_id, "not_audited"), {"changes": 0, "stays": 0})
        row["changes" if changes else "stays"] += 1
    return {
        "precision": wilson_interval(n_right, len(flagged)).to_json(),
        "recall": wilson_interval(n_right, len(changed)).to_json(),
        "recall_audited": wilson_interval(n_right, len(changed_and_audited)).to_json(),
        "recall_driven_or_sensitive": wilson_interval(
            len({i for i in changed if verdicts.get(i) in SUSPICIOUS}), len(changed)
        ).to_json(),
        "n_predicted": len(truth),
        "n_audited": len(verdicts),
        "n_flagged": len(flagged),
        "n_changed": len(changed),
        "n_right": n_right,
        "by_verdict": dict(sorted(table.items())),
        "definition": DEFINITION,
    }


def calibrate(answers: Sequence[FilmPredictions], audit_dir: Path) -> dict[str, Any] | None:
    """Measure an audit against the counterfactual films of a phantom.

    Args:
        answers: Predictions; those of the original arm's first seed, which the audit is about,
            on the original and the text-free films are used.
        audit_dir: Artifact of kind ``"audit"``.

    Returns:
        The row of :func:`measure_flags`; None where the data set has no text-free films.

    Raises:
        ArtifactError: If the audit cannot be read.
    """
    audited = [answer for answer in answers if answer.arm == BASE_ARM]
    first = [answer for answer in audited if answer.seed == audited[0].seed]
    by_data = {answer.test_data: answer for answer in first}
    if "original" not in by_data or TEXT_FREE not in by_data:
        return None
    try:
        text = (audit_dir / VERDICTS_NAME).read_text(encoding="utf-8")
        summary = json.loads((audit_dir / SUMMARY_NAME).read_text(encoding="utf-8"))
        records = [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{audit_dir}: cannot be read ({error}); audit again") from error
    original, text_free = by_data["original"], by_data[TEXT_FREE]
    target = int(summary["target_index"])
    after = dict(
        zip(text_free.image_ids, text_free.probabilities.argmax(axis=1).tolist(), strict=True)
    )
    before = original.probabilities.argmax(axis=1).tolist()
    truth = {
        image_id: after[image_id] != target
        for image_id, k in zip(original.image_ids, before, strict=True)
        if k == target and image_id in after
    }
    return measure_flags(records, truth)

"""Flags are counted against truth by hand."""

from dataclasses import replace

import numpy as np
import pytest

from covid_debug.artifacts import write_artifact
from covid_debug.audit.calibration import (
    TruthCounts,
    calibrate,
    load_calibration,
    measure_flags,
    write_calibration,
)
from covid_debug.errors import ArtifactError
from covid_debug.evaluation.predictions import FilmPredictions
from tests.audits import make_audited, write_made_up_audit


def _records(**verdicts):
    return [replace(make_audited(name), verdict=verdict) for name, verdict in verdicts.items()]


def _answers(test_data, classes, arm="original", seed=0):
    ids = tuple("abcde"[: len(classes)])
    return FilmPredictions(
        arm=arm,
        seed=seed,
        test_data=test_data,
        image_ids=ids,
        patients=ids,
        sources=("s",) * len(ids),
        labels=np.ones(len(ids), dtype=np.int64),
        probabilities=np.eye(2, dtype=np.float32)[list(classes)],
        n_total=len(ids),
    )


def test_measure_flags_counts_overlooked_films_against_recall():
    records = _records(a="text_driven", b="text_driven", c="not_text_driven", z="text_driven")
    truth = {"a": True, "b": False, "c": True, "d": True}

    row = measure_flags(records, truth)

    assert (row.n_flagged, row.n_changed, row.n_audited, row.n_right) == (2, 3, 3, 1)
    assert row.precision.value == 0.5
    assert row.recall.value == pytest.approx(1 / 3)
    assert row.recall_audited.value == 0.5
    assert row.by_verdict["not_audited"] == TruthCounts(changes=1, stays=0)


def test_measure_flags_without_flags_is_undefined_not_zero():
    row = measure_flags(_records(a="inconclusive"), {"a": False})

    assert not row.precision.is_defined
    assert not row.recall.is_defined


def test_calibrate_uses_the_audited_model_on_every_film(tmp_path):
    lines = _records(a="text_driven", b="not_text_driven")
    write_made_up_audit(tmp_path / "audit", lines)
    answers = [
        _answers("original", [1, 1, 1, 0]),
        _answers("text_free", [0, 1, 0, 1]),
        _answers("text_free", [1, 1, 1, 1], seed=1),
        _answers("text_free", [1, 1, 1, 1], arm="cleaned"),
    ]

    row = calibrate(answers, tmp_path / "audit")

    assert (row.n_predicted, row.n_changed, row.n_right) == (4, 3, 1)
    for name, content in (("found", row), ("none", None)):
        with write_artifact(tmp_path / name, kind="flag-calibration") as draft:
            write_calibration(draft.path, content)
        assert load_calibration(tmp_path / name) == content
    assert calibrate(answers[:1], tmp_path / "audit") is None
    with pytest.raises(ArtifactError, match="no such folder"):
        calibrate(answers, tmp_path / "missing")

"""Two requests share a name exactly when they ask for the same thing."""

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import (
    AuditRequest,
    CalibrationRequest,
    ConfoundsRequest,
)
from covid_debug.audit.transfer import TransferParams
from covid_debug.audit.transfer_stage import TransferRequest
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.lung_crop import LungCropRequest
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.cleaning.stage import (
    CleanRequest,
    DecoysRequest,
    PlaceboRequest,
    ProofRequest,
    UniformMarkerRequest,
)
from covid_debug.cleaning.swapped import SwapRequest
from covid_debug.data.selection import LeaveOutRequest, SelectTestRequest, TwinsRequest
from covid_debug.data.stage import PhantomData
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.reporting.stage import ReportRequest
from covid_debug.stages import Request
from covid_debug.text.marker_detector.detector import WEIGHTS_PATH, MarkerDetector, MarkerParams
from covid_debug.text.stage import RegionsRequest, TextParams, name_params
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

A, B = Path("a"), Path("b")
AUDIT = AuditRequest(A, A, A)
CHECKPOINTS = {("original", 0): A, ("original", 1): B}
VIEW, OTHER_VIEW = ViewSpec(), ViewSpec(image_size=64)
SETS = {"original": A}
CASES: list[tuple[Request, dict[str, Any]]] = [
    (
        PhantomData("phantom", 9, 6),
        {"n_train": 12, "n_test": 9, "seed": 1, "text_correlation": 0.5, "val_share": 0.4},
    ),
    (RegionsRequest(A), {"filmset": B, "text": TextParams("strokes"), "split": "test"}),
    (
        CleanRequest(A, A),
        {"filmset": B, "regions": B, "params": CleaningParams(dilation_px=5), "decisions": B},
    ),
    (
        PlaceboRequest(A, A),
        {"filmset": B, "regions": B, "params": CleaningParams(dilation_px=5), "seed": 1},
    ),
    *(
        (
            kind(A, A),
            {"filmset": B, "regions": B, "params": CleaningParams(radius_px=5), "decisions": B},
        )
        for kind in (DecoysRequest, UniformMarkerRequest)
    ),
    (
        SwapRequest(A, A),
        {"filmset": B, "regions": B, "params": CleaningParams(dilation_px=5), "seed": 1},
    ),
    (LungCropRequest(A), {"filmset": B}),
    (SelectTestRequest(A), {"filmset": B}),
    (LeaveOutRequest(A, "nih"), {"filmset": B, "source": "cohen"}),
    (TwinsRequest(A, "text_free"), {"filmset": B, "kind": "text_swapped"}),
    (
        ProofRequest(A, A, detector="strokes", made_with=frozenset({"marker"})),
        {
            "filmset": B,
            "cleaned": B,
            "params": ProbeParams(seed=1),
            "detector": "marker",
            "made_with": frozenset({"craft"}),
            "is_sample": True,
        },
    ),
    (
        TrainRequest(A, TrainingParams(), VIEW, 0),
        {
            "filmset": B,
            "training": TrainingParams(n_epochs=1),
            "view": OTHER_VIEW,
            "seed": 1,
            "text_free": B,
        },
    ),
    (
        AUDIT,
        {
            "checkpoint": B,
            "filmset": B,
            "regions": None,
            "params": AuditParams(alpha=0.1),
            "run_seed": 1,
            "factory": "package:build",
        },
    ),
    (CalibrationRequest(A, A, A), {"audit": B, "checkpoint": B, "filmset": B}),
    (
        ConfoundsRequest(A, A),
        {"filmset": B, "regions": B, "view": OTHER_VIEW, "seed": 1},
    ),
    (
        TransferRequest((A,), A, A),
        {
            "checkpoints": (A, B),
            "filmset": B,
            "regions": B,
            "params": TransferParams(n_draws=1),
            "run_seed": 1,
            "factory": "package:build",
        },
    ),
    (
        ComparisonRequest(CHECKPOINTS, SETS),
        {
            "checkpoints": dict(reversed(CHECKPOINTS.items())),  # decides the order of the rows
            "filmsets": {"original": B},
            "seed": 1,
            "questions": ("text_free",),
            "seen": {("original", "original"): B},
            "unseen": {("original", 0, "nih"): (A, B)},
            "factory": "package:build",
        },
    ),
    (
        ReportRequest(
            title="run",
            filmset=A,
            regions=A,
            view=VIEW,
            cleaned=A,
            audit=A,
            comparison=A,
            confounds=A,
            calibration=A,
        ),
        {
            "title": "other",
            "audit": B,
            "audits": CHECKPOINTS,
            "comparison": B,
            "confounds": B,
            "calibration": B,
            "proof": B,
            "transfer": B,
            "shortcuts": B,
            "config": {"n": 1},
        },
    ),
]
BEHIND = {"filmset", "regions", "view", "cleaned"}  # of a report: behind what goes in


@pytest.mark.parametrize(("request_", "others"), CASES, ids=lambda value: type(value).__name__)
def test_every_field_of_a_request_decides_its_name(
    request_: Request, others: dict[str, Any]
) -> None:
    names = {request_.key(), *(replace(request_, **{n: v}).key() for n, v in others.items())}  # type: ignore[arg-type]

    assert len(names) == 1 + len(others)
    decisive = {item.name for item in fields(request_) if item.compare}
    allowed = BEHIND if isinstance(request_, ReportRequest) else {"kind"}
    assert decisive - set(others) <= allowed
    assert request_.key() == replace(request_).key()


def test_a_detector_counts_by_its_weights_not_by_the_place_of_installation(tmp_path: Path) -> None:
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copy(WEIGHTS_PATH, moved)
    other.write_bytes(b"other weights")

    here, there, unlike = (
        name_params(MarkerDetector(MarkerParams(weights=place)))
        for place in (WEIGHTS_PATH, moved, other)
    )
    assert here == there != unlike
    assert str(WEIGHTS_PATH) not in str(RegionsRequest(A, TextParams("marker")).parameters())

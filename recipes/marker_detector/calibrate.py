"""Fit the marker detector's probabilities: ``python -m recipes.marker_detector.calibrate``.

A logistic regression on the features of candidates, text or not by the boxes of annotated films
that are there for choosing, and of a third of the films that the network was trained on, where
large lead markers are more frequent. Its reliability is measured on the annotated films, by source
held out: fitted on all sources but one, judged on that one. Only the regression is held out: the
network was trained on other films of two of the sources (``backgrounds.json``), and the detector's
thresholds were chosen on the same annotated films.
"""

import argparse
import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from covid_debug.artifacts import canonical_json, hash_file, write_text_atomic
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import draw_outlines
from covid_debug.records import Box
from covid_debug.text.marker_detector.calibration import CALIBRATION_PATH
from covid_debug.text.marker_detector.candidates import FEATURES, find_candidates
from covid_debug.text.marker_detector.detector import WEIGHTS_PATH, MarkerDetector, MarkerParams
from recipes.marker_detector.backgrounds import LIST_PATH

RELIABILITY_PATH = Path(__file__).with_name("reliability.csv")
_TEXT_SHARE = 0.5  # of a candidate inside text boxes
_OTHER_SHARE = 0.1  # at most, of a candidate that is no text
_STRENGTH = 0.3  # of the regression's fit against its prior of small weights
_NOT_TEXT, _UNCLEAR = "arrow_not_text", "other"
_BIN_EDGES = np.linspace(0, 1, 11)


@dataclass(frozen=True, slots=True)
class CandidateTable:
    """Candidates of annotated films.

    Attributes:
        features: ``(n, n_features)``.
        is_text: ``(n,)`` bool.
        sources: ``(n,)`` first folder of each film's path.
        is_learned: ``(n,)`` whether the network was trained on the film: fitted on, never judged.
    """

    features: NDArray[np.float64]
    is_text: NDArray[np.bool_]
    sources: NDArray[np.str_]
    is_learned: NDArray[np.bool_]


def collect_candidates(
    films: Mapping[str, Mapping[str, Any]],
    folder: Path,
    weights: Path = WEIGHTS_PATH,
    *,
    learned: Collection[str] = (),
) -> CandidateTable:
    """Find candidates on annotated films and say which are text.

    Args:
        films: ``{film: {"boxes": [{"box", "kind", ...}]}}``, see benchmarks/text/annotations.
        folder: Folder that the film paths are relative to.
        weights: The network.
        learned: Films that it was trained on.

    Returns:
        The candidates, text where half of their heat lies on text; those of which less, but some,
        does are left out, as is what no reader can judge.
    """
    detector = MarkerDetector(MarkerParams(weights=weights))
    features, is_text, sources, is_learned = [], [], [], []
    for name, entry in films.items():
        pixels = read_film(folder / name).to_uint8()
        maps = detector.compute_maps(pixels)
        boxes = [box for box in entry["boxes"] if box["kind"] != _NOT_TEXT]
        text, unclear = (
            _cover([b["box"] for b in boxes if (b["kind"] == _UNCLEAR) == is_unclear], pixels.shape)
            for is_unclear in (False, True)
        )
        heat = cv2.resize(maps.areas, (pixels.shape[1], pixels.shape[0]))
        for candidate in find_candidates(maps, detector.params.thresholds):
            own = _fill(candidate.rectangle.corners() * maps.scale, pixels.shape)
            share = float(heat[own & text].sum() / max(heat[own].sum(), 1e-6))
            if _OTHER_SHARE < share < _TEXT_SHARE or (share < _TEXT_SHARE and unclear[own].any()):
                continue
            features.append(candidate.features)
            is_text.append(share >= _TEXT_SHARE)
            sources.append(name.split("/", 1)[0])
            is_learned.append(name in learned)
    return CandidateTable(
        np.array(features), np.array(is_text), np.array(sources), np.array(is_learned, np.bool_)
    )


def read_listing(path: Path = LIST_PATH) -> dict[str, Any]:
    """Return a third of the films that the network was trained on, as annotated films.

    Large lead markers are rare among the annotated films; there are many in the listing.
    """
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: {
            "boxes": [
                {"box": box[:4], "kind": kind}
                for kind, boxes in (
                    ("word", entry.get("text", ())),
                    (_UNCLEAR, entry.get("ignore", ())),
                )
                for box in boxes
            ]
        }
        for name, entry in list(entries.items())[::3]
    }


def _cover(boxes: Sequence[Box], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return draw_outlines([to_polygon(box) for box in boxes], shape[1], shape[0])


def _fill(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    outline = [(float(x), float(y)) for x, y in corners]
    return draw_outlines([outline], shape[1], shape[0])


def fit(
    features: NDArray[np.float64], is_text: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Return weights for the raw features, and the intercept."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    model = LogisticRegression(C=_STRENGTH, max_iter=2000).fit((features - mean) / scale, is_text)
    weights = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - weights @ mean)


def rate_held_out(table: CandidateTable) -> NDArray[np.float64]:
    """Return the probability of every candidate that may be judged, fitted on other sources."""
    shares = np.zeros(len(table.is_text))
    for source in np.unique(table.sources):
        own = table.sources == source
        weights, intercept = fit(table.features[~own], table.is_text[~own])
        shares[own] = 1 / (1 + np.exp(-(table.features[own] @ weights + intercept)))
    return shares[~table.is_learned]


def write_reliability(path: Path, shares: NDArray[np.float64], is_text: NDArray[np.bool_]) -> float:
    """Write the reliability curve; return the expected calibration error."""
    bins = np.clip(np.digitize(shares, _BIN_EDGES) - 1, 0, len(_BIN_EDGES) - 2)
    error = 0.0
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["from", "to", "n_candidates", "mean_probability", "share_text"])
        for k in range(len(_BIN_EDGES) - 1):
            own = bins == k
            if own.any():
                mean, truth = float(shares[own].mean()), float(is_text[own].mean())
                error += abs(mean - truth) * float(own.mean())
                low, high = _BIN_EDGES[k : k + 2]
                writer.writerow(
                    [f"{low:.1f}", f"{high:.1f}", own.sum(), f"{mean:.3f}", f"{truth:.3f}"]
                )
    return error


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and write ``calibration.json`` and ``reliability.csv``."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.marker_detector.calibrate",
        description="Fit the probabilities of the marker detector on annotated films.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the sources")
    parser.add_argument("--annotations", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS_PATH)
    parser.add_argument("--out", type=Path, default=CALIBRATION_PATH)
    parser.add_argument("--reliability", type=Path, default=RELIABILITY_PATH)
    chosen = parser.parse_args(arguments)
    films: dict[str, Any] = {}
    for path in chosen.annotations:
        films |= json.loads(path.read_text(encoding="utf-8"))
    learned = read_listing()
    table = collect_candidates(films | learned, chosen.data, chosen.weights, learned=learned)
    weights, intercept = fit(table.features, table.is_text)
    judged = table.is_text[~table.is_learned]
    error = write_reliability(chosen.reliability, rate_held_out(table), judged)
    record = {
        "weights": dict(zip(FEATURES, (round(float(w), 5) for w in weights), strict=True)),
        "intercept": round(intercept, 5),
        "n_candidates": len(table.is_text),
        "n_text": int(table.is_text.sum()),
        "n_judged": len(judged),
        "expected_calibration_error_source_held_out": round(error, 4),
        "network": hash_file(chosen.weights),
        "annotations": {path.name: hash_file(path) for path in chosen.annotations},
    }
    write_text_atomic(chosen.out, canonical_json(record) + "\n")


if __name__ == "__main__":
    main()

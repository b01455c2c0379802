"""The ONNX file says what the trained network says, and the calibration is fitted right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from covid_debug.artifacts import hash_file
from covid_debug.imaging.writing import write_png
from covid_debug.text.marker_detector.calibration import load_marker_calibration
from covid_debug.text.marker_detector.candidates import FEATURES
from covid_debug.text.marker_detector.detector import MarkerDetector, MarkerParams
from recipes.marker_detector import calibrate
from recipes.marker_detector.calibrate import CandidateTable, fit, rate_held_out, write_reliability
from recipes.marker_detector.network import MarkerNet

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_exported_network_says_what_the_network_says(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is in the dev dependencies")
    from recipes.marker_detector.export import export_weights

    torch.manual_seed(0)
    network = MarkerNet().eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    path = export_weights(tmp_path / "weights.safetensors", tmp_path / "weights.onnx")
    film = np.random.default_rng(0).integers(0, 255, (128, 96)).astype(np.uint8)

    detector = MarkerDetector(MarkerParams(weights=path, max_side=128))
    maps = detector.compute_maps(film)

    with torch.inference_mode():
        films = torch.from_numpy(film.astype(np.float32) / 255)[None, None]
        scores = torch.sigmoid(network(films))[0].numpy()
    np.testing.assert_allclose(maps.characters, scores[0], atol=1e-5)
    np.testing.assert_allclose(maps.annotations, scores[2], atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_integers_say_nearly_what_the_network_says(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is in the dev dependencies")
    from recipes.marker_detector.export import export_weights, quantize_weights

    torch.manual_seed(0)
    save_file(MarkerNet().state_dict(), tmp_path / "weights.safetensors")
    film = np.random.default_rng(0).integers(0, 255, (128, 96)).astype(np.uint8)
    write_png(tmp_path / "film.png", film)
    (tmp_path / "listing.json").write_text('{"film.png": {}}', encoding="utf-8")

    single = export_weights(tmp_path / "weights.safetensors", tmp_path / "single.onnx")
    small = quantize_weights(single, tmp_path / "weights.onnx", tmp_path, tmp_path / "listing.json")

    assert small.stat().st_size < 0.4 * single.stat().st_size
    exact, near = (
        MarkerDetector(MarkerParams(weights=path, max_side=128)).compute_maps(film)
        for path in (single, small)
    )
    np.testing.assert_allclose(near.areas, exact.areas, atol=0.02)


def test_fit_finds_the_feature_that_tells_text() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, len(FEATURES)))
    is_text = features[:, 2] > 0
    table = CandidateTable(features, is_text, np.array(["a", "b"] * 200), np.zeros(400, np.bool_))

    weights, _ = fit(features, is_text)
    shares = rate_held_out(table)

    assert np.argmax(np.abs(weights)) == 2
    assert ((shares > 0.5) == is_text).mean() > 0.95


def test_reliability_of_a_coin_that_is_known_to_be_one(tmp_path: Path) -> None:
    is_text = np.array([True, False] * 50)

    error = write_reliability(tmp_path / "r.csv", np.full(100, 0.5), is_text)

    assert error == pytest.approx(0)
    assert (tmp_path / "r.csv").read_text().splitlines()[1] == "0.5,0.6,100,0.500,0.500"


def test_calibrate_keeps_the_curve_out_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, len(FEATURES)))
    sources, learned = np.array(["a", "b"] * 30), np.zeros(60, np.bool_)
    table = CandidateTable(features, features[:, 0] > 0, sources, learned)
    monkeypatch.setattr(calibrate, "collect_candidates", lambda *_, **__: table)
    boxes, curve, out = (tmp_path / name for name in ("boxes.json", "curve.csv", "fitted.json"))
    boxes.write_text("{}", encoding="utf-8")
    paths = f"--data {tmp_path} --annotations {boxes} --reliability {curve} --out {out}"

    calibrate.main(paths.split())

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "boxes.json",
        "curve.csv",
        "fitted.json",
    ]
    assert calibrate.RELIABILITY_PATH.parent == ROOT / "recipes" / "marker_detector"


def test_shipped_calibration_names_the_shipped_network() -> None:
    folder = ROOT / "covid_debug" / "text" / "marker_detector"
    record = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert record["network"] == hash_file(folder / "weights.onnx")
    assert set(record["annotations"]) <= {"markers_dev.json", "markers_second_choose.json"}
    assert len(load_marker_calibration().weights) == len(FEATURES)

"""What ships: permitted films only, and weights that find letters."""

import csv
import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_debug.data.phantom import plan_pool, render_phantom
from covid_debug.errors import CheckpointError
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.text.catalog import build_detector
from covid_debug.text.combined import CombinedDetector
from covid_debug.text.marker_detector.detector import MarkerDetector, MarkerParams
from recipes.marker_detector.backgrounds import LIST_PATH

DATA = Path(__file__).resolve().parents[4] / "benchmarks" / "text" / "annotations"
DEVELOPMENT = DATA / "markers_dev_films.txt"
UNTOUCHED = DATA / "markers_test_films.txt"
SECOND = DATA / "markers_second_films.txt"
THIRD = DATA / "markers_third_films.txt"


def _nih_patients(names: set[str]) -> set[str]:
    return {Path(name).name.split("_")[0] for name in names if name.startswith("nih")}


def test_no_development_film_or_patient_is_a_background() -> None:
    development = set(DEVELOPMENT.read_text(encoding="utf-8").split())
    listed = set(json.loads(LIST_PATH.read_text(encoding="utf-8")))

    assert not development & listed
    assert not _nih_patients(development) & _nih_patients(listed)
    assert {name.split("/")[0] for name in listed} == {
        "covid-chestxray-dataset",
        "nih-cxr14-subset",
    }


def test_no_untouched_film_was_chosen_or_trained_on() -> None:
    untouched = set(UNTOUCHED.read_text(encoding="utf-8").split())
    development = set(DEVELOPMENT.read_text(encoding="utf-8").split())
    listed = set(json.loads(LIST_PATH.read_text(encoding="utf-8")))

    assert len(untouched) == 60
    assert not untouched & (development | listed)


def test_no_film_or_patient_of_the_second_set_was_trained_on() -> None:
    second = set(SECOND.read_text(encoding="utf-8").split())
    earlier = set((DEVELOPMENT.read_text(encoding="utf-8") + UNTOUCHED.read_text()).split())
    listed = set(json.loads(LIST_PATH.read_text(encoding="utf-8")))

    assert len(second) == 200
    assert not second & (earlier | listed)
    assert not _nih_patients(second) & _nih_patients(listed)


def test_no_film_of_the_third_set_was_trained_on_or_annotated_before() -> None:
    third = set(THIRD.read_text(encoding="utf-8").split())
    earlier = {
        name
        for path in (DEVELOPMENT, UNTOUCHED, SECOND)
        for name in path.read_text(encoding="utf-8").split()
    }
    listed = set(json.loads(LIST_PATH.read_text(encoding="utf-8")))

    assert len(third) == 109
    assert not third & (earlier | listed)
    assert {name.split("/")[0] for name in third} == {
        "covid-chestxray-dataset",
        "Actualmed-COVID-chestxray-dataset",
    }


@pytest.mark.real_data
def test_cohen_backgrounds_are_free_and_of_other_patients(shared_data: Path) -> None:
    table = shared_data / "covidx-sources" / "covid-chestxray-dataset" / "metadata.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = {row["filename"]: row for row in csv.DictReader(stream)}
    listed = {Path(name).name for name in json.loads(LIST_PATH.read_text(encoding="utf-8"))}
    development = {Path(name).name for name in DEVELOPMENT.read_text(encoding="utf-8").split()}

    used = {name: rows[name] for name in listed & set(rows)}

    assert {row["license"] for row in used.values()} <= {"CC BY", "CC BY 3.0", "CC BY 4.0", "CC0"}
    earlier, third = (
        {Path(name).name for path in paths for name in path.read_text(encoding="utf-8").split()}
        for paths in ((DEVELOPMENT, UNTOUCHED, SECOND), (THIRD,))
    )
    fresh = [rows[name]["patientid"] for name in third & set(rows)]
    assert len(set(fresh)) == len(fresh) == 104
    assert not set(fresh) & {rows[name]["patientid"] for name in earlier & set(rows)}
    annotated = (
        development
        | third
        | {Path(name).name for name in SECOND.read_text(encoding="utf-8").split()}
    )
    seen = {rows[name]["patientid"] for name in annotated & set(rows)}
    assert not seen & {row["patientid"] for row in used.values()}


def test_shipped_weights_find_the_text_of_phantoms() -> None:
    plans = plan_pool("test", 6, seed=21, text_correlation=0.5, val_share=0.0)
    films = [render_phantom(21, plan) for plan in plans]

    found = MarkerDetector().detect([film.marked for film in films])

    shares = []
    for film, regions in zip(films, found, strict=True):
        height, width = film.marked.shape
        covered = regions_to_mask(regions, width, height)
        for text in film.regions:
            text_mask = regions_to_mask((text,), width, height)
            shares.append(float(covered[text_mask].mean()))
    assert np.mean([share > 0.5 for share in shares]) >= 0.85


def test_weights_of_a_configuration_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"own\.onnx does not exist"):
        build_detector("marker", weights=str(tmp_path / "own.onnx"))


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not weights")

    with pytest.raises(CheckpointError, match="does not hold weights"):
        MarkerDetector(MarkerParams(weights=path)).prepare()


def test_the_detector_needs_no_torch() -> None:
    code = (
        "import sys, numpy; from covid_debug.text.marker_detector.detector import MarkerDetector;"
        "MarkerDetector().detect([numpy.zeros((70, 90), 'uint8')]);"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_detector_goes_to_another_process_without_its_session() -> None:
    detector = MarkerDetector()
    film = np.zeros((70, 90), np.uint8)
    detector.detect([film])

    other = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own
    assert other.detect([film]) == [[]]


def test_shipped_weights_see_nothing_on_flat_films() -> None:
    films = [np.full((400, 360), level, np.uint8) for level in (0, 90, 255)]

    assert MarkerDetector().detect(films) == [[], [], []]


def test_faint_lead_letter_over_dense_tissue_is_found_by_both() -> None:
    (plan,) = plan_pool("test", 1, seed=6, text_correlation=0.5, val_share=0)
    film = render_phantom(6, plan).bare
    height, width = film.shape
    lead = np.zeros_like(film)
    corner = (int(0.75 * width), int(0.22 * height))
    cv2.putText(lead, "L", corner, cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 4, cv2.LINE_AA)
    shadow = cv2.GaussianBlur(lead.astype(np.float32), (0, 0), 1.0) * 35 / 255
    faint = np.clip(film + shadow, 0, 255).astype(np.uint8)

    for detector in (MarkerDetector(), CombinedDetector()):
        covered = regions_to_mask(detector.detect([faint])[0], width, height)
        assert covered[lead > 0].mean() > 0.9

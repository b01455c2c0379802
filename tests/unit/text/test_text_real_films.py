"""The detectors keep what was measured on the development set of real films."""

import pytest

from benchmarks.text.annotated import load_annotations
from benchmarks.text.counting import by_key, summarise
from benchmarks.text.measure import ANNOTATIONS
from benchmarks.text.scoring import score_film
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.text.catalog import build_detector

# Measured, less two boxes: recall of legible boxes, of single letters; mean and worst excess area;
# text-free films touched.
FLOORS = {
    "rapidocr": (0.85, 0.72, 0.003, 0.03, 0),
    "default": (0.99, 0.978, 0.004, 0.03, 1),
}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", sorted(FLOORS))
def test_detector_keeps_its_recall_without_touching_more(shared_data, name):
    detector = build_detector(name)
    scores = []
    for film in load_annotations(ANNOTATIONS):
        pixels = read_film(shared_data / "covidx-sources" / film.path).to_uint8()
        scores.append(score_film(film, detector.detect([pixels])[0], pixels))

    rows = by_key(summarise(scores))

    recall, letters, mean_excess, worst_excess, n_touched = FLOORS[name]
    assert rows["all", "legible"].share >= recall
    assert rows["kind", "single_letter"].share >= letters
    assert rows["excess area", "mean"].share <= mean_excess
    assert rows["excess area", "worst film"].share <= worst_excess
    assert rows["text-free films", "touched"].n_found <= n_touched


@pytest.mark.slow
@pytest.mark.real_data
def test_default_covers_all_that_the_marker_detector_alone_covers(shared_data):
    alone, default = build_detector("marker"), build_detector()
    for film in load_annotations(ANNOTATIONS):
        pixels = read_film(shared_data / "covidx-sources" / film.path).to_uint8()
        before, after = (
            regions_to_mask(one.detect([pixels])[0], film.width, film.height)
            for one in (alone, default)
        )
        assert not (before & ~after).any(), film.path

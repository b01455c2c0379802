"""The default detector against its members, on anything they may say."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion
from covid_debug.text.base import Detections, RegionDetector
from covid_debug.text.combined import CombinedDetector

SIDE = 120
NOISE = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
FAINT_BESIDE_BRIGHT = np.full((SIDE, SIDE), 40, np.uint8)
FAINT_BESIDE_BRIGHT[10:110:12, 10:60] = 250
FAINT_BESIDE_BRIGHT[10:110:12, 60:110] = 60


class Told(RegionDetector):
    """Says what it is told."""

    min_edge = 0.0

    def __init__(self, name, regions, uncertain=()):
        self.name = name
        self.params = None
        self._found = Detections(tuple(regions), uncertain=tuple(uncertain))

    def prepare(self):
        pass

    def _find(self, image):
        return self._found


def region(detector, x, y, width, height, skew, confidence):
    right, low = min(x + width, SIDE), min(y + height, SIDE)
    shift = min(skew, (right - x) // 2)
    polygon = ((x + shift, y), (right, y), (right - shift, low), (x, low))
    return TextRegion(tuple((float(a), float(b)) for a, b in polygon), confidence, None, detector)


def regions_of(detector):
    made = st.builds(
        region, st.just(detector), st.integers(0, 110), st.integers(0, 110), st.integers(4, 40),
        st.integers(4, 40), st.integers(0, 6), st.floats(0, 1),
    )  # fmt: skip
    return st.lists(made, max_size=5)


FILMS = st.sampled_from([NOISE, FAINT_BESIDE_BRIGHT])


def combine(sure, uncertain, seen):
    """Return the marker detector, and the default detector that it is a member of."""
    marker = Told("marker", sure, uncertain)
    members = {"marker": marker, "rapidocr": Told("rapidocr", seen)}
    return marker, CombinedDetector(members=members)


def cover(regions):
    return regions_to_mask(regions, SIDE, SIDE)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(FILMS, regions_of("marker"), regions_of("marker"), regions_of("rapidocr"))
def test_default_covers_all_that_the_marker_detector_alone_covers(image, sure, uncertain, seen):
    marker, detector = combine(sure, uncertain, seen)

    covered = cover(detector.detect([image])[0])

    assert not (cover(marker.detect([image])[0]) & ~covered).any()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(FILMS, regions_of("marker"), regions_of("marker"), regions_of("rapidocr"))
def test_default_keeps_nothing_of_which_the_marker_detector_sees_no_quarter(
    image, sure, uncertain, seen
):
    marker, detector = combine(sure, uncertain, seen)

    (told,) = marker.inspect([image])
    marker_sees = cover([*told.regions, *told.uncertain])
    for kept in detector.detect([image])[0]:
        assert marker_sees[cover([kept])].mean() >= 0.25

"""Detectors that vouch for each other, with members made for the test."""

import pickle

import numpy as np
import pytest

from covid_debug.errors import CatalogError, CheckpointError, InputContractError
from covid_debug.records import TextRegion
from covid_debug.text.base import RegionDetector
from covid_debug.text.combined import CombinedDetector, CombinedParams


class Told(RegionDetector):
    """Sees what it is told, in its own name."""

    def __init__(self, name, *boxes, confidence=0.9, content=None):
        self.name = name
        self.params = None
        self.prepared = 0
        self._regions = [
            TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), confidence, content, name)
            for x0, y0, x1, y1 in boxes
        ]

    def prepare(self):
        self.prepared += 1

    def _find(self, image):
        return self._regions


@pytest.fixture
def film():
    """Noise has steep edges everywhere, so nothing in it passes for anatomy or shrinks."""
    return np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)


def combine(*members, **params):
    return CombinedDetector(CombinedParams(**params), {member.name: member for member in members})


def test_two_members_see_one_region(film):
    detector = combine(
        Told("marker", (20, 20, 40, 40), confidence=0.3),
        Told("rapidocr", (20, 20, 42, 40), confidence=0.4, content="R"),
        marker_alone=0.9,
        rapidocr_alone=0.9,
    )

    (found,) = detector.inspect([film])

    (region,) = found.regions
    assert region.box == (20, 20, 40, 40)  # the tighter one
    assert region.detector == "marker+rapidocr"
    assert region.content == "R"
    assert region.confidence == 0.4
    assert found.rejected == ()


def test_lone_and_uncertain_region_is_rejected_with_the_reason(film):
    detector = combine(Told("marker", (20, 20, 40, 40), confidence=0.4), Told("rapidocr"))

    (found,) = detector.inspect([film])

    assert found.regions == ()
    assert found.rejected[0][1] == (
        "uncertain: seen by marker alone with confidence 0.40, needs 0.92"
    )


def test_lone_but_certain_region_is_kept(film):
    detector = combine(Told("marker"), Told("craft", (20, 20, 40, 40), confidence=0.8))

    assert detector.detect([film])[0][0].detector == "craft"


class Reading:
    """Reads the same letter everywhere."""

    def __init__(self, letter):
        self.letter = letter

    def prepare(self):
        pass

    def read(self, region, image):
        return self.letter


@pytest.mark.parametrize(
    ("confidence", "letter", "is_kept"),
    [(0.9, "L", True), (0.9, None, False), (0.8, "L", False), (0.95, None, True)],
)
def test_lone_marker_needs_confidence_or_a_letter(film, confidence, letter, is_kept):
    members = {
        "marker": Told("marker", (20, 20, 40, 40), confidence=confidence),
        "rapidocr": Told("rapidocr"),
    }
    detector = CombinedDetector(CombinedParams(), members, Reading(letter))

    regions = detector.detect([film])[0]

    assert bool(regions) is is_kept
    if is_kept:
        assert regions[0].content == letter


@pytest.mark.parametrize(
    ("box", "confidence", "is_kept"),
    [
        ((0, 50, 20, 70), 0.9, True),
        ((180, 50, 200, 70), 0.9, True),
        ((50, 0, 70, 20), 0.87, False),
        ((50, 180, 70, 200), 0.9, True),
        ((5, 50, 25, 70), 0.9, False),
    ],
)
def test_lone_marker_cut_by_the_border_needs_less(film, box, confidence, is_kept):
    detector = combine(Told("marker", box, confidence=confidence), Told("rapidocr"))

    assert bool(detector.detect([film])[0]) is is_kept


def test_single_member_is_believed(film):
    detector = combine(Told("rapidocr", (20, 20, 40, 40), confidence=0.1))

    assert len(detector.detect([film])[0]) == 1


def test_rejections_of_members_are_kept(film):
    detector = combine(Told("marker", (0, 0, 150, 150)), Told("rapidocr"))

    (found,) = detector.inspect([film])

    assert found.rejected[0][1].startswith("film scale")


def test_default_takes_the_members_that_are_there(monkeypatch, tmp_path):
    monkeypatch.setattr("covid_debug.text.combined.WEIGHTS_PATH", tmp_path / "none")
    monkeypatch.setenv("COVID_DEBUG_CRAFT_WEIGHTS", str(tmp_path / "none.pth"))

    assert CombinedDetector().params.members == ("rapidocr",)


def test_craft_joins_when_its_weights_are_there(monkeypatch, tmp_path, craft_weights):
    monkeypatch.setattr("covid_debug.text.combined.WEIGHTS_PATH", tmp_path / "none")
    monkeypatch.setattr("covid_debug.text.craft.WEIGHTS_VARIABLE", "MADE_WEIGHTS")
    monkeypatch.setenv("MADE_WEIGHTS", str(craft_weights))
    monkeypatch.setattr("covid_debug.text.combined.CraftDetector", lambda _: Told("craft"))

    assert CombinedDetector().params.members == ("rapidocr", "craft")


def test_broken_craft_weights_are_an_error_and_not_skipped(monkeypatch, tmp_path, craft_weights):
    monkeypatch.setattr("covid_debug.text.combined.WEIGHTS_PATH", tmp_path / "none")

    with pytest.raises(CheckpointError, match=r"MD5 is .*; expected 2f8227d2"):
        CombinedDetector(CombinedParams(craft_weights=str(craft_weights)))


def test_member_without_weights_that_was_asked_for_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="are not there"):
        CombinedDetector(
            CombinedParams(members=("craft",), craft_weights=str(tmp_path / "none.pth"))
        )


def test_unknown_member_is_answered_with_a_suggestion():
    with pytest.raises(CatalogError, match=r"unknown member 'markers'; did you mean 'marker'"):
        CombinedParams(members=("markers",))


def test_confidence_out_of_range_is_refused():
    with pytest.raises(InputContractError, match=r"marker_alone is 1.5; expected in \[0, 1\]"):
        CombinedParams(marker_alone=1.5)


def test_pickled_detector_keeps_its_members(film):
    detector = CombinedDetector(CombinedParams(members=("rapidocr",)))

    twin = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes

    assert twin.params == detector.params
    assert twin.detect([film]) == detector.detect([film])

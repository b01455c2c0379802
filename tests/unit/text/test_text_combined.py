"""Detectors that vouch for each other, with members made for the test."""

import pickle

import numpy as np
import pytest

from covid_debug.data.phantom.generate import render_phantom
from covid_debug.data.phantom.plan import plan_pool
from covid_debug.errors import CatalogError, CheckpointError, InputContractError
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion
from covid_debug.text.base import Detections, RegionDetector
from covid_debug.text.catalog import build_detector
from covid_debug.text.combined import CombinedDetector, CombinedParams
from recipes.marker_detector.clutter import draw_clutter


class Told(RegionDetector):
    """Sees what it is told, in its own name."""

    min_edge = 0.0

    def __init__(self, name, *boxes, confidence=0.9, content=None, uncertain=()):
        self.name = name
        self.params = None
        self.prepared = 0
        self._found = Detections(
            *(
                tuple(
                    TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), confidence, content, name)
                    for x0, y0, x1, y1 in some
                )
                for some in (boxes, (), uncertain)
            )
        )

    def prepare(self):
        self.prepared += 1

    def _find(self, image):
        return self._found


@pytest.fixture
def film():
    """Noise has steep edges everywhere, so nothing in it passes for anatomy or shrinks."""
    return np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)


def combine(*members, **params):
    return CombinedDetector(CombinedParams(**params), {member.name: member for member in members})


def test_two_members_see_one_region(film):
    detector = combine(
        Told("marker", (20, 20, 40, 40), confidence=0.3),
        Told("rapidocr", (20, 20, 41, 40), confidence=0.4, content="R"),
    )

    (found,) = detector.inspect([film])

    (region,) = found.regions
    assert region.box == (20, 20, 40, 40)
    assert region.detector == "marker+rapidocr"
    assert region.content == "R"
    assert region.confidence == 0.4
    assert found.rejected == ()


@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.9])
def test_region_of_the_marker_detector_alone_is_kept(film, confidence):
    detector = combine(Told("marker", (50, 20, 70, 40), confidence=confidence), Told("rapidocr"))

    (region,) = detector.detect([film])[0]

    assert region.box == (50, 20, 70, 40)
    assert region.detector == "marker"


def test_region_of_the_marker_detector_is_not_lost_in_a_large_joint_box(film):
    marker, other = (20, 20, 60, 60), (40, 20, 80, 60)  # 4 % of the film each, together 6 %
    detector = combine(Told("marker", marker), Told("rapidocr", other))

    assert marker in {region.box for region in detector.detect([film])[0]}


def test_faint_glyph_beside_a_bright_one_stays_covered():
    film = np.full((200, 200), 40, np.uint8)
    film[30:50, 30:40] = 250
    film[30:50, 50:60] = 60
    detector = combine(Told("marker", (28, 28, 62, 52)), Told("rapidocr"))

    assert detector.detect([film])[0][0].box == (28, 28, 62, 52)


def test_faint_region_that_a_member_kept_is_not_taken_for_anatomy():
    flat = np.full((200, 200), 90, np.uint8)

    (found,) = combine(Told("marker", (20, 20, 40, 40)), Told("rapidocr")).inspect([flat])

    assert len(found.regions) == 1
    assert found.rejected == ()


@pytest.mark.parametrize("confidence", [0.4, 0.99])
def test_rapidocr_alone_in_the_lung_removes_nothing(confidence):
    (plan,) = plan_pool("test", 1, seed=1, text_correlation=0, val_share=0)
    chest = render_phantom(1, plan).bare
    height, width = chest.shape
    lung = (0.25 * width, 0.4 * height, 0.33 * width, 0.45 * height)
    rapidocr = Told("rapidocr", lung, confidence=confidence)
    detector = combine(Told("marker"), rapidocr)

    (found,) = detector.inspect([chest])

    assert found.regions == ()
    assert found.rejected[-1][1] == (
        f"uncertain: seen by rapidocr alone with confidence {confidence:.2f}"
    )


def test_speck_of_the_marker_detector_does_not_confirm_a_large_region(film):
    detector = combine(Told("marker", (30, 30, 36, 36)), Told("rapidocr", (20, 20, 50, 50)))

    assert [region.box for region in detector.detect([film])[0]] == [(30, 30, 36, 36)]


def test_plate_that_rapidocr_sees_round_a_letter_is_covered(film):
    detector = combine(Told("marker", (25, 25, 45, 45)), Told("rapidocr", (20, 20, 50, 50)))

    assert (20, 20, 50, 50) in {region.box for region in detector.detect([film])[0]}


@pytest.mark.parametrize(("seen", "n_kept"), [([(20, 20, 42, 40)], 1), ([], 0)])
def test_what_the_marker_detector_doubts_needs_another_one(film, seen, n_kept):
    marker = Told("marker", uncertain=[(20, 20, 40, 40)], confidence=0.99)

    regions = combine(marker, Told("rapidocr", *seen)).detect([film])[0]

    assert [region.detector for region in regions] == ["marker+rapidocr"] * n_kept


def test_craft_alone_is_kept_when_it_is_certain(film):
    boxes = Told("craft", (20, 20, 40, 40), confidence=0.8)

    assert combine(Told("marker"), boxes).detect([film])[0][0].detector == "craft"
    assert combine(Told("marker"), boxes, craft_alone=0.9).detect([film])[0] == []


def test_default_covers_what_the_marker_detector_alone_covers_on_phantoms_with_clutter():
    rng = np.random.default_rng(5)
    alone, default = build_detector("marker"), build_detector()
    n_covered = 0
    for plan in plan_pool("test", 2, seed=3, text_correlation=0.5, val_share=0):
        film = render_phantom(3, plan).marked
        for _ in range(4):
            x, y = (int(rng.integers(0, side - 128)) for side in film.shape[::-1])
            window = film[y : y + 128, x : x + 128]
            window[:] = np.maximum(window, 250 * draw_clutter(rng, 128))
        height, width = film.shape
        before, after = (
            regions_to_mask(one.detect([film])[0], width, height) for one in (alone, default)
        )
        assert not (before & ~after).any()
        n_covered += int(before.sum())
    assert n_covered


def test_single_member_is_believed(film):
    detector = combine(Told("rapidocr", (20, 20, 40, 40), confidence=0.1))

    assert len(detector.detect([film])[0]) == 1


def test_rejections_of_members_are_kept(film):
    detector = combine(Told("marker", (0, 0, 150, 150)), Told("rapidocr"))

    (found,) = detector.inspect([film])

    assert found.rejected[0][1].startswith("film scale")


def test_default_is_the_marker_detector_where_craft_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("COVID_DEBUG_CRAFT_WEIGHTS", str(tmp_path / "none.pth"))

    assert CombinedDetector().params.members == ("marker",)


def test_craft_joins_when_its_weights_are_there(monkeypatch, craft_weights):
    monkeypatch.setattr("covid_debug.text.craft.WEIGHTS_VARIABLE", "MADE_WEIGHTS")
    monkeypatch.setenv("MADE_WEIGHTS", str(craft_weights))
    monkeypatch.setattr("covid_debug.text.combined.CraftDetector", lambda _: Told("craft"))

    assert CombinedDetector().params.members == ("marker", "craft")


def test_broken_craft_weights_are_an_error_and_not_skipped(craft_weights):

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


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"craft_alone": 1.5}, r"craft_alone is 1.5; expected in \[0, 1\]"),
        ({"support": 0.0}, r"support is 0.0; expected in \(0, 1\]"),
    ],
)
def test_parameter_out_of_range_is_refused(params, message):
    with pytest.raises(InputContractError, match=message):
        CombinedParams(**params)


def test_pickled_detector_keeps_its_members(film):
    detector = CombinedDetector(CombinedParams(members=("rapidocr",)))

    twin = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes

    assert twin.params == detector.params
    assert twin.detect([film]) == detector.detect([film])

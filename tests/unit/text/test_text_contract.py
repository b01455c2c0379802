"""Promises that every detector of the catalogue keeps."""

import pickle

import numpy as np
import pytest

from covid_debug.errors import CatalogError, ConfigError, InputContractError
from covid_debug.records import TextRegion
from covid_debug.text.base import TextDetector
from covid_debug.text.catalog import DETECTORS, build_detector


@pytest.fixture(params=sorted(DETECTORS), scope="session")
def detector(request, craft_weights):
    params = {}
    if request.param == "craft":
        params = {"weights": str(craft_weights), "weights_md5": "", "long_size": 256}
    return build_detector(request.param, **params)


def test_detector_follows_the_protocol(detector):
    assert isinstance(detector, TextDetector)
    assert detector.params.__dataclass_params__.frozen


def test_no_images_give_no_lists(detector):
    assert detector.detect([]) == []


@pytest.mark.parametrize("shape", [(200, 160), (1, 1), (7, 900)])
def test_blank_film_has_no_text(detector, shape):
    assert detector.detect([np.zeros(shape, np.uint8)]) == [[]]


def test_regions_are_inside_the_film_with_confidence_in_range(detector, word_film):
    blank = np.zeros((64, 64), np.uint8)

    found = detector.detect([word_film, blank])

    assert len(found) == 2
    assert found[0]
    height, width = word_film.shape
    for region in found[0]:
        assert isinstance(region, TextRegion)
        assert len(region.polygon) >= 3
        assert all(0 <= x <= width and 0 <= y <= height for x, y in region.polygon)
        assert 0 <= region.confidence <= 1
        assert region.detector


def test_result_does_not_depend_on_the_company(detector, word_film):
    other = np.full((90, 120), 50, np.uint8)

    alone = detector.detect([word_film])[0]
    together = detector.detect([other, word_film])[1]

    assert alone == together


def test_input_is_not_changed(detector, word_film):
    before = word_film.copy()

    detector.detect([word_film])

    np.testing.assert_array_equal(word_film, before)


def test_pickled_detector_sees_the_same(detector, word_film):
    twin = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes

    assert twin.detect([word_film]) == detector.detect([word_film])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((4, 4), np.float32)], r"image 0 is float32 of shape \(4, 4\).*to_uint8"),
        ([np.zeros((4, 4, 3), np.uint8)], r"image 0 is uint8 of shape \(4, 4, 3\)"),
        ([np.zeros((4, 4), np.uint8), np.zeros((0, 4), np.uint8)], "image 1 .*non-empty"),
        (np.zeros((4, 4), np.uint8), r"got an array.*pass \[image\]"),
        ([[1, 2]], "image 0 is a list"),
        (7, "got a int"),
    ],
)
def test_wrong_input_names_the_image(detector, images, message):
    with pytest.raises(InputContractError, match=message):
        detector.detect(images)


def test_unknown_detector_is_answered_with_a_suggestion():
    with pytest.raises(CatalogError, match=r"unknown name 'rapidocrr'; did you mean 'rapidocr'"):
        build_detector("rapidocrr")


def test_unknown_parameter_is_answered_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"no parameter 'maxside'; did you mean 'max_side'"):
        build_detector("rapidocr", maxside=3)

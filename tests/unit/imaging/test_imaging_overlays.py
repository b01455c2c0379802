import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.imaging.overlays import (
    colour_bar,
    colour_saliency,
    draw_regions,
    overlay_saliency,
)
from covid_debug.records import TextRegion


def test_overlay_saliency_constant_map_shows_the_view_alone():
    view = np.arange(64, dtype=np.uint8).reshape(8, 8)

    picture = overlay_saliency(view, np.full((8, 8), 3.0, np.float32))

    np.testing.assert_array_equal(picture, np.repeat(view[..., None], 3, axis=2))


def test_overlay_saliency_peak_is_coloured_and_low_is_transparent():
    view = np.full((8, 8), 100, np.uint8)
    saliency = np.zeros((8, 8), np.float16)
    saliency[2, 5] = 1.0

    picture = overlay_saliency(view, saliency)

    assert picture.dtype == np.uint8
    assert tuple(picture[0, 0]) == (100, 100, 100)
    assert picture[2, 5].tolist() == [229, 230, 177]  # 0.15 * 100 + 0.85 * (252, 253, 191)


def test_overlay_saliency_stronger_is_brighter():
    view = np.zeros((1, 101), np.uint8)
    ramp = np.linspace(-1.0, 1.0, 101)[None]

    luma = overlay_saliency(view, ramp).astype(float) @ [0.2126, 0.7152, 0.0722]

    assert np.all(np.diff(luma[0]) >= -0.5)
    assert luma[0, :51].max() == 0.0


def test_colour_saliency_shows_no_evidence_against_the_target():
    saliency = np.array([[-4.0, -2.0, -2.0, -1.0, 0.0, 2.0]])

    assert colour_saliency(saliency)[..., 3].tolist() == [[0, 0, 0, 0, 0, 255]]
    assert not colour_saliency(saliency - 2)[..., 3].any()


def test_colour_saliency_is_opaque_at_the_peak_and_transparent_up_to_the_median():
    saliency = np.array([[0.0, 0.0, 1.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])

    layer = colour_saliency(saliency)

    assert layer.shape == (3, 3, 4)
    assert layer[0, 2].tolist() == [252, 253, 191, 255]
    assert layer[..., 3].tolist() == [[0, 0, 255], [0, 128, 0], [0, 0, 0]]
    assert colour_saliency(np.full((2, 2), 7.0))[..., 3].max() == 0


def test_overlay_saliency_wrong_shape_is_refused():
    with pytest.raises(InputContractError, match=r"expected uint8 .S, S. and the same shape"):
        overlay_saliency(np.zeros((8, 8), np.uint8), np.zeros((4, 4)))


def test_overlay_saliency_nan_is_refused():
    with pytest.raises(InputContractError, match=r"not finite"):
        overlay_saliency(np.zeros((2, 2), np.uint8), np.full((2, 2), np.nan))


def test_draw_regions_outlines_in_colour_and_leaves_the_rest():
    film = np.full((40, 60), 7, np.uint8)
    region = TextRegion(((10, 10), (30, 10), (30, 20), (10, 20)), 1.0, None, "x")

    picture = draw_regions(film, [region], (255, 0, 0))

    assert tuple(picture[10, 20]) == (255, 0, 0)
    assert tuple(picture[15, 20]) == (7, 7, 7)
    assert film.max() == 7


def test_draw_regions_without_regions_is_the_film():
    picture = draw_regions(np.full((4, 6), 7, np.uint8), [])

    assert picture.shape == (4, 6, 3)
    assert set(picture.ravel().tolist()) == {7}


def test_draw_regions_16_bit_is_refused():
    with pytest.raises(InputContractError, match=r"draw_regions: film has shape"):
        draw_regions(np.zeros((4, 4), np.uint16), [])


def test_colour_bar_runs_from_low_to_high():
    bar = colour_bar(7, 2)

    assert bar.shape == (2, 7, 3)
    assert bar[0, 0].tolist() == [59, 15, 112]
    assert bar[1, -1].tolist() == [252, 253, 191]

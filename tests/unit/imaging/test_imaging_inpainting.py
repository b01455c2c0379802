import cv2
import numpy as np
import pytest

from covid_debug.errors import CatalogError, InputContractError
from covid_debug.imaging.inpainting import METHODS, inpaint


def make_film(dtype: type, shape: tuple[int, int] = (160, 200), seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (smooth * np.iinfo(dtype).max).astype(dtype)


def make_mask(shape: tuple[int, int], seed: int, n_boxes: int = 5) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mask = np.zeros(shape, np.bool_)
    for _ in range(n_boxes):
        y, x = generator.integers(0, shape[0]), generator.integers(0, shape[1])
        high, wide = generator.integers(1, 25, 2)
        mask[y : y + high, x : x + wide] = generator.random((high, wide))[
            : shape[0] - y, : shape[1] - x
        ] < generator.choice([0.4, 1.1])
    return mask


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("method", "flag"), [("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS)]
)
@pytest.mark.parametrize("seed", range(6))
def test_inpaint_on_crops_equals_opencv_on_the_whole_film(method, flag, dtype, seed):
    film = make_film(dtype, seed=seed)
    mask = make_mask(film.shape, seed)

    filled = inpaint(film, mask, method=method, radius_px=10)

    np.testing.assert_array_equal(filled, cv2.inpaint(film, mask.astype(np.uint8), 10, flag))


def test_inpaint_fills_a_group_inside_a_ring():
    film = make_film(np.uint8)
    mask = np.zeros(film.shape, np.bool_)
    mask[10:150, 10:190] = True
    mask[14:146, 14:186] = False
    mask[70:80, 90:100] = True

    filled = inpaint(film, mask, radius_px=5)

    expected = cv2.inpaint(film, mask.astype(np.uint8), 5, cv2.INPAINT_TELEA)
    np.testing.assert_array_equal(filled, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("method", METHODS)
def test_inpaint_leaves_every_pixel_outside_the_mask_bit_identical(method, dtype):
    film = make_film(dtype)
    before = film.copy()
    mask = make_mask(film.shape, 3)

    filled = inpaint(film, mask, method=method)

    assert filled.dtype == dtype
    np.testing.assert_array_equal(filled[~mask], before[~mask])
    np.testing.assert_array_equal(film, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inpaint_a_letter_on_a_constant_film_gives_the_constant(method, dtype):
    film = np.full((60, 80), 7000 if dtype == np.uint16 else 70, dtype)
    mask = np.zeros(film.shape, np.bool_)
    mask[20:40, 0:30] = True
    marked = np.where(mask, np.iinfo(dtype).max, film).astype(dtype)

    filled = inpaint(marked, mask, method=method)

    rounding = 2 if method == "telea" else 0  # grey levels by which OpenCV's Telea is off
    np.testing.assert_allclose(filled, film, rtol=0, atol=rounding)


@pytest.mark.parametrize("method", METHODS)
def test_inpaint_does_not_depend_on_what_was_under_the_mask(method):
    film = make_film(np.uint8)
    mask = make_mask(film.shape, 3)
    other = np.where(mask, 255 - film, film)

    np.testing.assert_array_equal(
        inpaint(film, mask, method=method), inpaint(other, mask, method=method)
    )


def test_inpaint_local_median_takes_the_median_of_the_ring():
    film = np.zeros((11, 11), np.uint8)
    film[5, 4], film[5, 6], film[4, 5], film[6, 5] = 10, 20, 20, 90
    mask = np.zeros(film.shape, np.bool_)
    mask[5, 5] = True

    assert inpaint(film, mask, method="local_median", radius_px=1)[5, 5] == 20


def test_inpaint_with_an_empty_mask_returns_an_equal_copy():
    film = make_film(np.uint8)

    filled = inpaint(film, np.zeros(film.shape, np.bool_))

    np.testing.assert_array_equal(filled, film)
    assert filled is not film


@pytest.mark.parametrize(
    ("film", "mask", "radius", "message"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), bool), 1, "pixels are float32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool), 1, r"shape \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), bool), 1, r"mask is bool with .*\(4, 5\)"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), 1, "mask is uint8"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), 0, "radius_px is 0; expected more"),
        (np.zeros((4, 4), np.uint8), np.ones((4, 4), bool), 1, "mask covers the whole film"),
    ],
)
def test_inpaint_with_wrong_input_names_the_argument(film, mask, radius, message):
    with pytest.raises(InputContractError, match=message):
        inpaint(film, mask, radius_px=radius)


def test_inpaint_with_unknown_method_suggests_the_known_one():
    with pytest.raises(CatalogError, match="did you mean 'telea'"):
        inpaint(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), method="tela")


@pytest.mark.real_data
def test_inpaint_on_crops_equals_the_whole_film_on_a_real_radiograph(shared_data):
    path = min((shared_data / "covidx-sources/nih-cxr14-subset").rglob("*.jpg"))
    film = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    mask = np.zeros(film.shape, np.bool_)
    mask[20:90, 30:120] = True
    mask[95:140, 100:180] = True
    mask[-60:, -200:] = True

    filled = inpaint(film, mask)

    whole = cv2.inpaint(film, mask.astype(np.uint8), 10, cv2.INPAINT_TELEA)
    np.testing.assert_array_equal(filled, whole)

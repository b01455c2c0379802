import numpy as np
import pytest

from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.transplant import interpolate_membrane, transplant


def make_noise(dtype, seed=0, shape=(160, 200)):
    unit = 1 if dtype == np.uint8 else 257
    noise = np.random.default_rng(seed).normal(100, 6, shape)
    return np.clip(np.rint(noise * unit), 0, np.iinfo(dtype).max).astype(dtype)


def make_hole(shape, top, left, high, wide):
    mask = np.zeros(shape, np.bool_)
    mask[top : top + high, left : left + wide] = True
    return mask


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(4, 30), (20, 20), (12, 60)])
def test_transplant_on_noise_keeps_the_variance(dtype, size):
    inside = []
    for seed in range(8):
        film = make_noise(dtype, seed)
        mask = make_hole(film.shape, 60, 70, *size)
        filled, left = transplant(np.where(mask, 0, film).astype(dtype), mask)
        inside.append(filled[mask].astype(np.float64))
        assert not left.any()
    unit = 1 if dtype == np.uint8 else 257

    found = np.concatenate(inside).std() / unit

    # 960 values or more: a standard error of at most 2.3 %; the seam adds a little.
    assert 0.85 * 6 < found < 1.2 * 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transplant_on_a_constant_film_is_exact(dtype):
    film = np.full((60, 80), 7000 if dtype == np.uint16 else 70, dtype)
    mask = make_hole(film.shape, 20, 0, 20, 30)

    filled, left = transplant(np.where(mask, 255, film).astype(dtype), mask)

    np.testing.assert_array_equal(filled, film)
    assert filled.dtype == dtype
    assert not left.any()


def test_transplant_on_a_ramp_continues_the_ramp():
    rows, columns = np.mgrid[:160, :200]
    film = (20 + columns // 2 + rows // 2).astype(np.uint8)
    mask = make_hole(film.shape, 60, 80, 12, 16)

    filled, _ = transplant(np.where(mask, 255, film).astype(np.uint8), mask)

    np.testing.assert_allclose(filled.astype(int), film.astype(int), rtol=0, atol=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transplant_changes_nothing_outside_and_reads_nothing_inside(dtype):
    film = make_noise(dtype)
    generator = np.random.default_rng(1)
    mask = make_hole(film.shape, 0, 0, 18, 25) | make_hole(film.shape, 100, 150, 60, 50)
    mask[40:60, 40:90] |= generator.random((20, 50)) < 0.4
    other = np.where(mask, np.iinfo(dtype).max - film, film).astype(dtype)

    filled, left = transplant(film, mask)
    again, _ = transplant(other, mask)

    np.testing.assert_array_equal(filled[~mask], film[~mask])
    np.testing.assert_array_equal(filled[~left], again[~left])
    assert not (left & ~mask).any()


def test_transplant_copies_nothing_from_where_it_must_not():
    film = make_noise(np.uint8)
    mask = make_hole(film.shape, 60, 70, 16, 16)
    marked = film.copy()
    avoid = np.zeros(film.shape, np.bool_)
    avoid[:, :60] = True
    marked[:, :55] = np.where(make_noise(np.uint8, 5)[:, :55] > 100, 255, 0)

    filled, _ = transplant(marked, mask, avoid)

    assert filled[mask].max() < 160
    assert filled[mask].min() > 40


def test_transplant_passes_over_a_letter_that_nobody_found():
    film = make_noise(np.uint8)
    mask = make_hole(film.shape, 60, 70, 16, 16)
    for left in range(4, 200, 24):
        film[::24, left : left + 6] = np.where(mask[::24, left : left + 6], 100, 255)

    filled, left = transplant(film, mask)

    assert filled[mask & ~left].max(initial=0) < 160


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (7, 5), (9, 40), (16, 16)])
def test_transplant_on_a_tiny_film_leaves_the_rest_to_another_fill(shape):
    film = make_noise(np.uint8, shape=shape)
    mask = np.ones(shape, np.bool_)
    mask[0, 0] = False

    filled, left = transplant(film, mask)

    np.testing.assert_array_equal(left, mask)
    np.testing.assert_array_equal(filled, film)
    whole = inpaint(film, mask, method="transplant")
    np.testing.assert_array_equal(whole, inpaint(film, mask, method="telea"))


def test_transplant_with_the_whole_film_masked_leaves_it():
    film = make_noise(np.uint8)

    _, left = transplant(film, np.ones(film.shape, np.bool_))

    assert left.all()


def test_interpolate_membrane_is_exact_where_known_and_harmonic_between():
    known = np.zeros((9, 17), np.bool_)
    known[:, [0, -1]] = True
    values = np.where(known, np.linspace(0, 16, 17), 99.0)

    found = interpolate_membrane(values, known, n_sweeps=3000)

    np.testing.assert_allclose(found, np.tile(np.linspace(0, 16, 17), (9, 1)), atol=1e-6)
    np.testing.assert_array_equal(found[known], values[known])

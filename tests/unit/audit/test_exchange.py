"""One film made like another in one respect, and in no other."""

import numpy as np
import pytest

from covid_debug.audit.exchange import (
    blend,
    limit_levels,
    match_histogram,
    match_spectrum,
    measure_spectrum,
    recompress,
    resample,
)
from covid_debug.imaging.geometry import ViewSpec, compute_geometry, render_view

SIDE = 64


def noise(seed: int, low: int = 40, high: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (SIDE, SIDE)).astype(np.uint8)


def test_blend_takes_the_donor_inside_and_the_film_outside_with_a_seam_between():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, 32:] = True

    mixed = blend(np.full((SIDE, SIDE), 50, np.uint8), np.full((SIDE, SIDE), 150, np.uint8), mask)

    assert np.all(mixed[:, :28] == 50)
    assert np.all(mixed[:, 36:] == 150)
    assert np.all(np.diff(mixed[0].astype(int)) >= 0)
    view = noise(0)
    np.testing.assert_array_equal(blend(view, noise(1), np.zeros((SIDE, SIDE), bool)), view)


def test_a_film_given_what_it_has_stays_as_it_is():
    view = noise(0)

    np.testing.assert_array_equal(blend(view, view, view > 100), view)
    np.testing.assert_array_equal(match_histogram(view, view), view)
    np.testing.assert_array_equal(match_spectrum(view, view), view)
    np.testing.assert_array_equal(limit_levels(view, len(np.unique(view))), view)


def test_histogram_becomes_the_donors_and_order_stays():
    view, donor = noise(0, 0, 100), noise(1, 120, 220)

    matched = match_histogram(view, donor)

    np.testing.assert_allclose(
        np.percentile(matched, [5, 50, 95]), np.percentile(donor, [5, 50, 95]), atol=2
    )
    order = np.argsort(view.ravel(), kind="stable")
    assert np.all(np.diff(matched.ravel()[order].astype(int)) >= 0)


def test_a_flat_film_gets_the_donors_median():
    donor = np.repeat(np.arange(SIDE, dtype=np.uint8), SIDE).reshape(SIDE, SIDE)

    matched = match_histogram(np.full((SIDE, SIDE), 9, np.uint8), donor)

    assert np.unique(matched).tolist() == [SIDE // 2 - 1]


def test_spectrum_becomes_the_donors_and_coarse_structure_stays():
    ramp = np.tile(np.linspace(60, 190, SIDE), (SIDE, 1))
    rough = (
        (ramp + np.random.default_rng(0).normal(0, 12, ramp.shape)).clip(0, 255).astype(np.uint8)
    )
    smooth = (
        (ramp + np.random.default_rng(1).normal(0, 3, ramp.shape)).clip(0, 255).astype(np.uint8)
    )

    matched = match_spectrum(rough, smooth)

    before = np.abs(measure_spectrum(rough) - measure_spectrum(smooth)).mean()
    after = np.abs(measure_spectrum(matched) - measure_spectrum(smooth)).mean()
    assert after < 0.15 * before
    columns = matched.mean(axis=0).reshape(8, 8).mean(axis=1)
    np.testing.assert_allclose(columns, ramp[0].reshape(8, 8).mean(axis=1), atol=3)


def test_levels_are_at_most_as_many_as_asked_for_and_the_nearest_in_order():
    film = np.arange(100, dtype=np.uint8).reshape(10, 10)

    limited = limit_levels(film, 10)

    assert sorted(np.unique(limited)) == [10 * k + 5 for k in range(10)]
    assert np.abs(limited.astype(int) - film).max() <= 5
    np.testing.assert_array_equal(limit_levels(film, 200), film)


def test_a_coarse_table_loses_more_than_a_fine_one():
    film = noise(0)
    fine, coarse = (recompress(film, (step,) * 64).astype(int) - film for step in (1, 60))

    assert np.abs(fine).mean() < 1 < np.abs(coarse).mean()


@pytest.mark.parametrize("side_px", [60, 100, 200])
def test_resampled_film_is_the_view_of_a_film_of_that_size(side_px):
    film = np.random.default_rng(0).integers(0, 255, (100, 100)).astype(np.uint8)
    spec = ViewSpec(image_size=32, top_crop=0.0)

    view = resample(film, compute_geometry(100, 100, spec), side_px)

    assert view.shape == (32, 32)
    if side_px == 100:
        np.testing.assert_array_equal(view, render_view(film, spec))
    assert np.std(resample(film, compute_geometry(100, 100, spec), 8)) < 0.5 * np.std(view)

"""The way from film to view, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import (
    ViewGeometry,
    ViewSpec,
    compute_geometry,
    render_view,
    render_view_mask,
)

SIDES = st.integers(1, 5000)
SPECS = st.builds(
    ViewSpec, image_size=st.integers(8, 512), top_crop=st.floats(0, 0.5, allow_nan=False)
)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (100, 100, ViewGeometry(4, 8, 92, 224)),  # 8 rows dropped, 92 x 92 centred
        (50, 200, ViewGeometry(0, 83, 50, 224)),  # 16 dropped, 184 left, (184 - 50) / 2 = 67
        (640, 480, ViewGeometry(99, 38, 442, 224)),
        (1, 1, ViewGeometry(0, 0, 1, 224)),
        (100, 107, ViewGeometry(0, 8, 99, 224)),  # 8.56 rows are 8
    ],
)
def test_compute_geometry_drops_top_and_centres(
    width: int, height: int, expected: ViewGeometry
) -> None:
    assert compute_geometry(width, height, ViewSpec()) == expected


@given(width=SIDES, height=SIDES, spec=SPECS)
@settings(deadline=None, derandomize=True)
def test_compute_geometry_stays_on_the_film(width: int, height: int, spec: ViewSpec) -> None:
    geometry = compute_geometry(width, height, spec)

    assert geometry.side >= 1
    assert 0 <= geometry.x0 <= width - geometry.side
    assert int(height * spec.top_crop) <= geometry.y0 <= height - geometry.side


@given(width=SIDES, height=SIDES, spec=SPECS, x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
@settings(deadline=None, derandomize=True)
def test_points_map_there_and_back(
    width: int, height: int, spec: ViewSpec, x: float, y: float
) -> None:
    geometry = compute_geometry(width, height, spec)

    round_trip = geometry.to_film(geometry.to_view([[x, y]]))

    np.testing.assert_allclose(round_trip, [[x, y]], atol=1e-6)


def test_corners_of_the_square_are_corners_of_the_view() -> None:
    geometry = compute_geometry(640, 480, ViewSpec(image_size=64))

    np.testing.assert_allclose(
        geometry.to_view([[99, 38], [99 + 442, 38 + 442]]), [[0, 0], [64, 64]]
    )


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_bright_spot_lands_where_the_geometry_says(seed: int) -> None:
    generator = np.random.default_rng(seed)
    width, height = (int(side) for side in generator.integers(60, 400, 2))
    spec = ViewSpec(image_size=int(generator.integers(16, 256)))
    geometry = compute_geometry(width, height, spec)
    x, y = generator.uniform(0.25, 0.75, 2) * geometry.side + (geometry.x0, geometry.y0)
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    sigma = geometry.side / 12
    film = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))

    view = render_view(film.astype(np.uint8), spec).astype(np.float64)

    rows, columns = np.mgrid[0 : spec.image_size, 0 : spec.image_size] + 0.5
    centroid = np.array([(view * columns).sum(), (view * rows).sum()]) / view.sum()
    # Half a pixel of the coarser of both grids.
    tolerance = 0.5 * max(1.0, spec.image_size / geometry.side)
    np.testing.assert_allclose(centroid, geometry.to_view([[x, y]])[0], atol=tolerance)


def test_render_view_of_constant_film_is_constant() -> None:
    view = render_view(np.full((300, 200), 77, np.uint8), ViewSpec(image_size=32))

    np.testing.assert_array_equal(view, np.full((32, 32), 77, np.uint8))


def test_render_view_shows_nothing_of_the_dropped_rows() -> None:
    film = np.zeros((100, 92), np.uint8)
    film[:8] = 255

    assert render_view(film, ViewSpec(image_size=92)).max() == 0
    film[8] = 255
    assert render_view(film, ViewSpec(image_size=92))[0].min() == 255


def test_render_view_mask_marks_the_smallest_contribution() -> None:
    film_mask = np.zeros((1000, 920), np.bool_)
    film_mask[80, 0] = True

    view_mask = render_view_mask(film_mask, ViewSpec(image_size=16))

    assert view_mask.sum() == 1
    assert view_mask[0, 0]


@pytest.mark.parametrize(
    "film", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16), np.zeros((4, 4))]
)
def test_render_view_of_wrong_film_raises(film: np.ndarray) -> None:
    with pytest.raises(InputContractError, match="render_view: film has shape"):
        render_view(film, ViewSpec())


def test_view_spec_and_geometry_refuse_values_out_of_range() -> None:
    with pytest.raises(InputContractError, match="image_size is 4"):
        ViewSpec(image_size=4)
    with pytest.raises(InputContractError, match=r"top_crop is 0\.7"):
        ViewSpec(top_crop=0.7)
    with pytest.raises(InputContractError, match="film is 0 x 5 pixels"):
        compute_geometry(0, 5, ViewSpec())


def test_render_view_averages_over_the_area_when_it_shrinks() -> None:
    film = np.zeros((32, 32), np.uint8)
    film[::4, ::4] = 240  # one pixel of every 4 x 4, and never one of the four in the middle

    view = render_view(film, ViewSpec(image_size=8, top_crop=0.0))

    np.testing.assert_array_equal(view, np.full((8, 8), 240 // 16, np.uint8))


def test_a_film_little_larger_than_its_view_is_averaged_by_area() -> None:
    film = np.zeros((12, 12), np.uint8)
    film[:, 1] = 90

    view = render_view(film, ViewSpec(image_size=8, top_crop=0.0))

    # A view pixel covers 1.5 columns: the bright one lies half in the first, half in the second.
    assert view[3].tolist() == [30, 30, 0, 0, 0, 0, 0, 0]

"""Groups of pixels and shapes that are moved over a film."""

import numpy as np

from covid_debug.imaging.masks import PlacedMask, grow_mask, iter_groups, scale_of


def drawn(*pixels: tuple[int, int], shape: tuple[int, int] = (8, 9)) -> np.ndarray:
    mask = np.zeros(shape, np.bool_)
    for row, column in pixels:
        mask[row, column] = True
    return mask


def test_pixels_that_touch_by_a_corner_are_one_group_at_its_place() -> None:
    (group,) = iter_groups(drawn((2, 5), (3, 6)))

    assert (group.top, group.left) == (2, 5)
    np.testing.assert_array_equal(group.mask, [[True, False], [False, True]])


def test_pixels_are_joined_up_to_twice_the_growth() -> None:
    mask = drawn((0, 0), (0, 3))  # two empty pixels between them

    assert len(list(iter_groups(mask))) == 2
    assert len(list(iter_groups(mask, join_px=1))) == 1
    assert len(list(iter_groups(drawn((0, 0), (0, 4)), join_px=1))) == 2


def test_group_inside_another_ones_window_is_not_part_of_it() -> None:
    mask = np.ones((5, 5), np.bool_)
    mask[1:4, 1:4] = False
    mask[2, 2] = True

    sizes = sorted(group.n_pixels for group in iter_groups(mask))

    assert sizes == [1, 16]


def test_drawing_the_groups_gives_the_mask_back() -> None:
    mask = np.random.default_rng(0).random((20, 31)) < 0.3

    for join_px in (0, 1):
        together = np.zeros_like(mask)
        for group in iter_groups(mask, join_px):
            group.stamp(together)
        np.testing.assert_array_equal(together, mask)


def test_window_with_a_margin_is_cut_to_the_film() -> None:
    placed = PlacedMask(2, 5, np.ones((3, 2), np.bool_))

    assert placed.window((100, 100), 1) == (slice(1, 6), slice(4, 8))
    assert placed.window((4, 6), 3) == (slice(0, 4), slice(2, 6))


def test_shape_over_the_edge_keeps_its_inner_part() -> None:
    shape = np.array([[True, True, False], [False, False, True]])

    np.testing.assert_array_equal(
        PlacedMask(-1, -2, shape).drawn((2, 2)), [[True, False], [False, False]]
    )
    np.testing.assert_array_equal(
        PlacedMask(1, 1, shape).drawn((2, 3)), [[False, False, False], [False, True, True]]
    )
    assert not PlacedMask(-2, 0, shape).drawn((4, 4)).any()


def test_moved_shape_goes_down_by_rows_and_right_by_columns() -> None:
    moved = PlacedMask(2, 5, np.ones((1, 1), np.bool_)).moved(3, -1)

    assert (moved.top, moved.left) == (5, 4)


def test_scale_of_grows_with_larger_films_only():
    assert [scale_of(shape) for shape in ((640, 300), (320, 200), (1280, 2560))] == [1.0, 1.0, 4.0]


def test_grow_mask_by_a_disc():
    mask = np.zeros((9, 9), np.bool_)
    mask[4, 4] = True

    assert grow_mask(mask, 0) is mask
    assert grow_mask(mask, 1).sum() == 5


def test_trimmed_mask_covers_the_same_pixels():
    placed = PlacedMask(3, 5, np.pad(np.ones((2, 4), np.bool_), 2))
    empty = PlacedMask(0, 0, np.zeros((3, 3), np.bool_))

    assert placed.trimmed().mask.all()
    np.testing.assert_array_equal(placed.trimmed().drawn((20, 20)), placed.drawn((20, 20)))
    assert empty.trimmed() is empty

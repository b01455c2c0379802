import pytest

from covid_debug.imaging.boxes import (
    area_of,
    do_overlap,
    enclose,
    intersect,
    intersection_over_union,
    share_of_smaller,
    to_polygon,
)

LEFT, RIGHT = (0.0, 0.0, 4.0, 2.0), (3.0, 1.0, 7.0, 4.0)


def test_shares_of_two_boxes():
    assert (area_of(LEFT), area_of(RIGHT), intersect(LEFT, RIGHT)) == (8.0, 12.0, 1.0)
    assert enclose(LEFT, RIGHT) == (0.0, 0.0, 7.0, 4.0)
    assert share_of_smaller(LEFT, RIGHT) == 1 / 8
    assert intersection_over_union(LEFT, RIGHT) == 1 / 19
    assert intersection_over_union(LEFT, LEFT) == 1.0


@pytest.mark.parametrize("other", [(4.0, 0.0, 5.0, 2.0), (6.0, 5.0, 9.0, 6.0)])
def test_boxes_that_touch_or_lie_apart_share_nothing(other):
    assert intersect(LEFT, other) == intersection_over_union(LEFT, other) == 0.0
    assert share_of_smaller(LEFT, other) == 0.0
    assert not do_overlap(LEFT, other)
    assert do_overlap(LEFT, other, gap=3.5)


def test_polygon_goes_round_clockwise_from_the_top_left():
    assert to_polygon(LEFT) == ((0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (0.0, 2.0))


def test_boxes_that_only_touch_do_not_overlap_from_any_side() -> None:
    middle = (10.0, 10.0, 20.0, 20.0)
    neighbours = [(0.0, 10.0, 10.0, 20.0), (20.0, 10.0, 30.0, 20.0)]
    neighbours += [(y0, x0, y1, x1) for x0, y0, x1, y1 in neighbours]

    for box in neighbours:
        assert not do_overlap(middle, box)
        assert do_overlap(middle, box, gap=0.1)

"""The picture of a film in MLflow: the film and each method's map, side by side."""

from dataclasses import replace

import numpy as np

from covid_debug.tracking.pictures import draw_film
from tests.audits import EVIDENCE, MAPS, make_audited

VIEW = np.full((32, 32), 90, np.uint8)
MAP = np.eye(32, dtype=np.float32)


def test_maps_stand_beside_the_film_in_the_order_of_the_methods():
    film = make_audited(explained=True)

    alone = draw_film(film, VIEW, {})
    both = draw_film(film, VIEW, {"igos_pp": MAP, "path_gradient": np.zeros_like(MAP)})

    height, side, _ = alone.shape
    assert both.shape == (height, 3 * side, 3)
    np.testing.assert_array_equal(both[:side, :side], alone[:side])
    first, second = both[: side - 30, side : 2 * side], both[: side - 30, 2 * side :]
    assert first[:, :, 0].max() > 200  # the strongest place is bright
    assert (second == 90).all()  # a constant map is transparent
    for start in (side, 2 * side):  # each bears its method's name
        assert (both[side - 30 : side, start : start + side] == 255).any()


def test_a_void_missing_or_foreign_map_is_left_out_and_the_other_is_drawn():
    film = make_audited(explained=True)
    void = replace(film, maps={**MAPS, "igos_pp": replace(EVIDENCE, void=True, void_reason="x")})
    side = draw_film(film, VIEW, {}).shape[1]

    for shown, maps in (
        (void, {"igos_pp": MAP, "path_gradient": MAP}),
        (film, {"igos_pp": None, "path_gradient": MAP}),
        (film, {"igos_pp": np.eye(8, dtype=np.float32), "path_gradient": MAP}),
    ):
        assert draw_film(shown, VIEW, maps).shape[1] == 2 * side

"""Lung fields: closed-form films, phantoms, bad input, mirror images."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from covid_debug.data.phantom import plan_pool, render_lungs, render_phantom
from covid_debug.errors import InputContractError
from covid_debug.imaging import lungs as module
from covid_debug.imaging.lungs import draw_atlas, find_lungs

Film = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def dice(first: Mask, second: Mask) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def draw_two_ellipses(height: int, width: int) -> tuple[Film, Mask]:
    """Two dark ellipses on a bright body before a dark background."""
    film = np.full((height, width), 15, np.uint8)
    cv2.rectangle(film, (width // 12, height // 14), (width - width // 12, height), 190, -1)
    lungs = np.zeros((height, width), np.uint8)
    for column in (0.31, 0.69):
        center = (round(column * width), round(0.44 * height))
        axes = (round(0.13 * width), round(0.27 * height))
        cv2.ellipse(lungs, center, axes, 0, 0, 360, 1, -1)
    film[lungs > 0] = 70
    return np.asarray(cv2.GaussianBlur(film, (0, 0), width / 80), np.uint8), lungs > 0


@pytest.mark.parametrize("shape", [(320, 320), (260, 400), (400, 300)])
def test_two_dark_ellipses_are_found(shape: tuple[int, int]) -> None:
    film, true = draw_two_ellipses(*shape)

    assert dice(find_lungs(film), true) > 0.8


@pytest.mark.parametrize("index", range(4))
def test_lungs_of_phantoms_are_found(index: int) -> None:
    plan = plan_pool("test", 4, seed=77, text_correlation=1 / 3, val_share=0)[index]

    found, true = find_lungs(render_phantom(77, plan).marked), render_lungs(77, plan)

    assert found.shape == true.shape
    assert found.dtype == np.bool_
    assert dice(found, true) > 0.88


def test_same_film_same_mask_and_film_untouched() -> None:
    film, _ = draw_two_ellipses(200, 240)
    kept = film.copy()

    first, second = find_lungs(film), find_lungs(film)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(film, kept)


def test_mirrored_film_has_the_mirrored_mask() -> None:
    plan = plan_pool("test", 1, seed=5, text_correlation=1 / 3, val_share=0)[0]
    film = render_phantom(5, plan).marked

    mirrored = find_lungs(np.ascontiguousarray(film[:, ::-1]))

    assert dice(mirrored[:, ::-1], find_lungs(film)) > 0.99


@pytest.mark.parametrize(
    "film",
    [
        np.zeros((200, 180), np.uint8),
        np.full((200, 180), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (64, 300)).astype(np.uint8),
        np.zeros((8, 8), np.uint8),
    ],
    ids=["black", "white", "noise", "smallest"],
)
def test_mask_is_never_empty(film: Film) -> None:
    found = find_lungs(film)

    assert found.shape == film.shape
    assert 0.05 < found.mean() < 0.81


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_implausible_answer_gives_the_atlas(
    probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = np.full((module.GRID_SIDE, module.GRID_SIDE), probability, np.float32)
    monkeypatch.setattr(module, "compute_lung_probability", lambda _: answer)

    found = find_lungs(np.zeros((120, 100), np.uint8))

    np.testing.assert_array_equal(found, draw_atlas(120, 100))
    assert 0.1 < found.mean() < 0.5


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (np.zeros((50, 50), np.float32), r"float32 \(50, 50\); expected a \(H, W\) uint8"),
        (np.zeros((50, 50, 3), np.uint8), r"uint8 \(50, 50, 3\)"),
        ([[1, 2], [3, 4]], "film is list"),
        (np.zeros((7, 50), np.uint8), "at least 8 by 8"),
    ],
)
def test_bad_input_is_one_clear_error(film: Film, said: str) -> None:
    with pytest.raises(InputContractError, match=said):
        find_lungs(film)


def test_small_pieces_and_holes_are_dropped() -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[20:80, 10:45] = True
    mask[40:43, 20:23] = False
    mask[90:93, 90:93] = True

    kept = module._drop_specks(mask)

    assert kept[41, 21]
    assert not kept[91, 91]
    assert kept.sum() == 60 * 35

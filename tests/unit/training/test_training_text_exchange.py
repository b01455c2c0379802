"""Text of one training film on another."""

import numpy as np
import torch

from covid_debug.training.mitigation import MitigationParams
from covid_debug.training.text_exchange import draw_donors, lay_text, make_reader, mark_text


def draw_films():
    rng = np.random.default_rng(0)
    free = rng.integers(40, 60, (6, 20, 20)).astype(np.uint8)
    views = free.copy()
    for film in range(5):  # the last has no text
        views[film, 2:4, 3 * film : 3 * film + 2] += 150
    return views, free


VIEWS, FREE = draw_films()
FILMS = np.array([0, 3, 5])


def read(**params):
    reader = make_reader(VIEWS, FREE, MitigationParams(**params), np.random.default_rng(0))
    return reader(FILMS).numpy()


def test_without_text_free_views_films_are_read_as_they_are():
    reader = make_reader(VIEWS, None, MitigationParams(), np.random.default_rng(0))

    assert (reader(FILMS)[:, 0].numpy() == VIEWS[FILMS]).all()


def test_own_text_laid_on_the_text_free_view_is_the_view():
    assert (lay_text(FREE, VIEWS, FREE) == VIEWS).all()


def test_text_is_exchanged_added_and_removed():
    laid = lay_text(FREE[[0, 5, 1]], VIEWS[[1, 2, 5]], FREE[[1, 2, 5]])

    gains = laid.astype(int) - FREE[[0, 5, 1]]
    assert (gains[0, 2:4, 3:5] == 150).all()
    assert gains[0].sum() == 4 * 150
    assert (gains[1, 2:4, 6:8] == 150).all()
    assert not gains[2].any()


def test_text_that_would_leave_the_range_is_cut():
    bright, dark = np.full((1, 2, 2), 250, np.uint8), np.zeros((1, 2, 2), np.uint8)

    assert (lay_text(bright, dark + 90, dark) == 255).all()
    assert (lay_text(dark, dark, dark + 90) == 0).all()


def test_the_share_of_films_with_anothers_text_is_as_asked():
    films = np.repeat(np.arange(10), 400)

    donors = draw_donors(films, 10, 0.3, np.random.default_rng(0))

    assert abs(np.mean(donors != films) - 0.3) < 4 * (0.21 / 4000) ** 0.5
    everyone = draw_donors(films, 10, 1.0, np.random.default_rng(0))
    counts = np.array([np.bincount(everyone[films == k], minlength=10) for k in range(10)])
    assert (np.diag(counts) == 0).all()
    assert (counts[~np.eye(10, dtype=bool)] > 15).all()  # 44 expected of each other film
    assert (draw_donors(films, 10, 0.0, np.random.default_rng(0)) == films).all()


def test_the_mask_holds_the_shown_text_and_little_else():
    mask = mark_text(VIEWS[:1], FREE[:1])[0]

    assert (mask[2:4, 0:2] == 255).all()
    assert (mask > 0).sum() == 4 * 3  # one pixel around, cut at the border


def test_a_second_plane_holds_the_mask_of_the_text_that_is_shown():
    planes = read(right_reasons=1.0, random_text=1.0)

    shown, mask = planes[:, 0], planes[:, 1]
    assert planes.shape == (3, 2, 20, 20)
    assert (shown != VIEWS[FILMS]).any(axis=(1, 2)).all()
    assert ((shown != FREE[FILMS]) <= (mask == 255)).all()
    assert read(random_text=1.0).shape == (3, 1, 20, 20)
    assert torch.equal(*(torch.from_numpy(read(random_text=0.5)) for _ in range(2)))

"""ROAD: the imputation against a dense solution, the curve against a model that adds up pixels."""

import numpy as np
import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.evaluation.road import impute_linear, measure_road
from covid_debug.models.scoring import TargetScore
from tests.toys import SIDE, Additive, unchecked, wrap


def impute_slowly(film: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Repeat the neighbours' mean until nothing moves: the system's solution, by plain loops."""
    filled = np.where(missing, film[~missing].mean(), film)
    for _ in range(4000):
        before = filled.copy()
        for y, x in np.argwhere(missing):
            total = weights = 0.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    inside = 0 <= y + dy < film.shape[0] and 0 <= x + dx < film.shape[1]
                    if (dy, dx) != (0, 0) and inside:
                        weight = 1 / 6 if 0 in (dy, dx) else 1 / 12
                        total += weight * filled[y + dy, x + dx]
                        weights += weight
            filled[y, x] = total / weights
        if np.abs(filled - before).max() < 1e-13:
            break
    return filled


def test_imputation_is_the_solution_of_the_neighbours_means() -> None:
    generator = np.random.default_rng(0)
    film = generator.random((6, 7))
    missing = generator.random((6, 7)) < 0.6
    missing[0, 0] = missing[-1, -1] = True
    np.testing.assert_allclose(
        impute_linear(film, missing), impute_slowly(film, missing), atol=1e-9
    )


def test_imputation_of_a_plane_and_its_ends() -> None:
    y, x = np.mgrid[:9, :9].astype(float)
    plane = 0.02 * y + 0.03 * x
    hole = np.zeros((9, 9), bool)
    hole[3:6, 2:7] = True
    np.testing.assert_allclose(impute_linear(plane, hole), plane, atol=1e-12)
    np.testing.assert_array_equal(impute_linear(plane, np.zeros_like(hole)), plane)
    np.testing.assert_allclose(impute_linear(plane, np.ones_like(hole)), plane.mean())


def make_score(weights: torch.Tensor, n: int = 1) -> TargetScore:
    classifier = wrap(Additive(weights))
    return TargetScore(classifier, torch.ones(n, dtype=torch.int64))


def test_pixels_that_matter_take_the_score_with_them() -> None:
    weights = torch.zeros(1, 1, SIDE, SIDE)
    weights[..., 4:8, 4:8] = 1
    film = torch.full((1, 1, SIDE, SIDE), 0.2)
    film[..., 4:8, 4:8] = 0.8
    score = make_score(weights)
    right = measure_road(score, film, weights, seeds=[0], shares=(16 / 256,), noise_std=0.0)
    wrong = measure_road(score, film, 1 - weights, seeds=[0], shares=(16 / 256,), noise_std=0.0)
    assert float(right) == pytest.approx(0.2, abs=1e-5)  # the gap is filled from around it
    assert float(wrong) > 0.7


def test_order_noise_and_films_are_the_seed_s() -> None:
    films = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    maps = (films > 0.5).float()  # nothing but ties
    score = make_score(torch.rand(1, 1, SIDE, SIDE), 2)
    both = measure_road(score, films, maps, seeds=[3, 4])
    torch.testing.assert_close(both, measure_road(score, films, maps, seeds=[3, 4]))
    alone = measure_road(make_score(score.classifier.module.weights.detach()), films[:1], maps[:1],
                         seeds=[3])  # fmt: skip
    torch.testing.assert_close(both[:1], alone)
    assert not torch.equal(both[:1], measure_road(score, films, maps, seeds=[5, 4])[:1])


def test_a_map_that_is_not_finite_has_no_curve() -> None:
    film = torch.rand(1, 1, SIDE, SIDE)
    found = measure_road(make_score(film), film, torch.full_like(film, torch.nan), seeds=[0])
    assert found.isnan().all()


def test_bad_input_is_named() -> None:
    film = torch.rand(1, 1, SIDE, SIDE)
    score = make_score(film)
    with pytest.raises(InputContractError, match="there are 2 seeds"):
        measure_road(score, film, film, seeds=[0, 1])
    with pytest.raises(InputContractError, match=r"shares are \(1.0,\)"):
        measure_road(score, film, film, seeds=[0], shares=(1.0,))
    with unchecked(), pytest.raises(InputContractError, match="saliency has shape"):
        measure_road(score, film, film[..., :4], seeds=[0])

"""Infidelity, sensitivity and completeness of a model that adds up its pixels."""

import pytest
import torch
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.evaluation.fidelity import (
    draw_squares,
    measure_completeness,
    measure_infidelity,
    measure_max_sensitivity,
)
from covid_debug.models.scoring import TargetScore
from tests.toys import SIDE, Additive, wrap


def additive() -> tuple[TargetScore, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(1, 1, SIDE, SIDE, generator=generator)
    films = torch.rand(2, 1, SIDE, SIDE, generator=generator)
    score = TargetScore(wrap(Additive(weights)), torch.ones(2, dtype=torch.int64))
    baseline = torch.full_like(films, 0.5)
    contributions = (films - baseline) * weights / weights.sum()
    return score, films, baseline, contributions


def test_contributions_of_an_additive_model_are_faithful_at_any_scale() -> None:
    score, films, baseline, exact = additive()
    for scale, rescale in ((1.0, False), (1.0, True), (37.0, True)):
        found = measure_infidelity(
            score, films, scale * exact, baseline, seeds=[0, 1], rescale=rescale
        )
        assert found.max() < 1e-5, (scale, rescale)


def test_infidelity_of_maps_that_say_nothing() -> None:
    score, films, baseline, exact = additive()
    nothing = measure_infidelity(score, films, torch.zeros_like(films), baseline, seeds=[0, 1])
    torch.testing.assert_close(nothing, torch.ones(2))
    noise = torch.randn(films.shape, generator=torch.Generator().manual_seed(5))
    found = measure_infidelity(score, films, noise, baseline, seeds=[0, 1])
    assert ((found > 0.3) & (found <= 1)).all()
    # Not rescaled, twice the truth misses every fall by the fall itself.
    double = measure_infidelity(score, films, 2 * exact, baseline, seeds=[0, 1], rescale=False)
    torch.testing.assert_close(double, torch.ones(2), atol=1e-4, rtol=0)


def test_infidelity_where_nothing_falls_is_nan() -> None:
    score, films, _, exact = additive()
    assert measure_infidelity(score, films, exact, films, seeds=[0, 1]).isnan().all()


def test_infidelity_by_plain_loops() -> None:
    score, films, baseline, _ = additive()
    maps = films**2
    squares = draw_squares((SIDE, SIDE), 5, 7)
    falls, said = [], []
    for square in squares:
        removed = torch.where(square.bool(), baseline[0], films[0])[None]
        zero = torch.zeros(1, dtype=torch.int64)
        falls.append(float((score(films[:1], zero) - score(removed, zero)).detach()))
        said.append(float(maps[0][square.bool()].sum()))
    factor = sum(a * b for a, b in zip(said, falls, strict=True)) / sum(a * a for a in said)
    errors = [(factor * a - b) ** 2 for a, b in zip(said, falls, strict=True)]
    expected = sum(errors) / sum(b * b for b in falls)
    found = measure_infidelity(score, films, maps, baseline, seeds=[7, 8], n_squares=5)
    assert float(found[0]) == pytest.approx(expected, rel=1e-3)


def test_squares_lie_inside_and_have_the_drawn_sides() -> None:
    squares = draw_squares((20, 30), 200, 0)
    for square in squares[:, 0]:
        rows, columns = square.any(dim=1), square.any(dim=0)
        assert int(square.sum()) == int(rows.sum()) * int(columns.sum())
        assert 1 <= int(rows.sum()) == int(columns.sum()) <= 6


def test_sensitivity_of_maps_by_hand() -> None:
    films = torch.full((2, 1, SIDE, SIDE), 0.5)
    constant = measure_max_sensitivity(torch.ones_like, films, torch.ones_like(films), seeds=[0, 1])
    torch.testing.assert_close(constant, torch.zeros(2))
    itself = measure_max_sensitivity(torch.clone, films, films, seeds=[0, 1], radius=0.1)
    assert ((itself > 0.09) & (itself < 0.2)).all()  # uniform noise: .1 / sqrt(3) / .5
    assert (
        measure_max_sensitivity(torch.zeros_like, films, torch.zeros_like(films), seeds=[0, 1])
        .isnan()
        .all()
    )


def test_sensitivity_keeps_films_in_range_and_within_the_radius() -> None:
    films = torch.rand(1, 1, SIDE, SIDE)
    seen = []

    def remember(changed: Tensor) -> Tensor:
        seen.append(changed)
        return changed

    measure_max_sensitivity(remember, films, films, seeds=[0], n_draws=3, radius=0.3)
    assert len(seen) == 3
    assert all(x.min() >= 0 and x.max() <= 1 for x in seen)
    assert all((x - films).abs().max() <= 0.3 + 1e-6 for x in seen)


def test_completeness_by_hand() -> None:
    score, films, baseline, exact = additive()
    index = torch.arange(2)
    ends = score(films, index), score(baseline, index)
    torch.testing.assert_close(
        measure_completeness(exact, *ends), torch.zeros(2), atol=1e-3, rtol=0
    )
    ones = torch.ones(2)
    halves = torch.full((2, 1, 1, 2), 0.75)
    torch.testing.assert_close(measure_completeness(halves, ones, 0 * ones), 0.5 * ones)
    assert measure_completeness(halves, ones, ones).isnan().all()


def test_bad_input_is_named() -> None:
    score, films, baseline, exact = additive()
    with pytest.raises(InputContractError, match="with 1 seeds and 64 draws"):
        measure_infidelity(score, films, exact, baseline, seeds=[0])
    with pytest.raises(InputContractError, match="2 seeds and 0 draws"):
        measure_max_sensitivity(torch.clone, films, films, seeds=[0, 1], n_draws=0)

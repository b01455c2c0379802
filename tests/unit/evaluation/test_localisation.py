"""Maps against a region: closed forms, ties, and what is not defined."""

import itertools

import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.evaluation.localisation import measure_localisation, measure_sparseness
from tests.toys import unchecked

SIDE = 4


def region(*pixels: int) -> torch.Tensor:
    truth = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    truth.view(-1)[list(pixels)] = True
    return truth


def map_of(values: dict[int, float]) -> torch.Tensor:
    saliency = torch.zeros(1, 1, SIDE, SIDE)
    for pixel, value in values.items():
        saliency.view(-1)[pixel] = value
    return saliency


def test_values_by_hand() -> None:
    found = measure_localisation(
        map_of({0: 3.0, 1: 1.0, 5: 4.0, 9: -7.0}), region(0, 1, 2, 9), top_share=2 / 16
    )
    assert float(found.mass) == pytest.approx(4 / 8)
    assert float(found.pointing) == 0
    assert float(found.top_share) == pytest.approx(1 / 2)
    # Of the four largest, 5 lies outside, 0 and 1 inside; the fourth is one of 13 zeros, 2 inside.
    assert float(found.rank_accuracy) == pytest.approx((2 + 2 / 13) / 4)
    assert float(found.area) == pytest.approx(4 / 16)


def test_the_truth_itself_is_perfect_and_its_opposite_nothing() -> None:
    truth = region(3, 6, 7)
    perfect = measure_localisation(truth.float(), truth, top_share=3 / 16)
    opposite = measure_localisation(1 - truth.float(), truth)
    for name in ("mass", "rank_accuracy", "pointing", "top_share"):
        assert float(getattr(perfect, name)) == 1, name
        assert float(getattr(opposite, name)) == 0, name


def test_a_flat_map_is_worth_the_area() -> None:
    found = measure_localisation(torch.ones(1, 1, SIDE, SIDE), region(1, 2, 3))
    for name in ("mass", "rank_accuracy", "pointing", "top_share"):
        assert float(getattr(found, name)) == pytest.approx(3 / 16), name


def test_ties_are_the_mean_over_all_orders() -> None:
    values, inside = [2.0, 1.0, 1.0, 1.0, 0.0], [True, True, False, False, True]
    shares = []
    for order in itertools.permutations(range(5)):
        ranked = sorted(order, key=lambda unit: -values[unit])
        shares.append(sum(inside[unit] for unit in ranked[:3]) / 3)
    truth = torch.tensor(inside).view(1, 1, 1, 5)
    found = measure_localisation(torch.tensor(values).view(1, 1, 1, 5), truth)
    assert float(found.rank_accuracy) == pytest.approx(sum(shares) / len(shares))


def test_measures_do_not_depend_on_a_map_s_scale_or_the_other_films() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 1, 8, 8, generator=generator)
    truth = torch.rand(3, 1, 8, 8, generator=generator) < 0.2
    together = measure_localisation(maps, truth)
    for i in range(3):
        alone = measure_localisation(1e-6 * maps[i : i + 1], truth[i : i + 1])
        for name in ("mass", "rank_accuracy", "pointing", "top_share", "area"):
            torch.testing.assert_close(
                getattr(together, name)[i : i + 1], getattr(alone, name), msg=name
            )


@pytest.mark.parametrize(
    ("saliency", "truth", "void"),
    [
        (map_of({1: 1.0}), region(), False),
        (map_of({}), region(1), False),
        (map_of({2: -1.0}), region(1), False),
        (map_of({2: torch.nan}), region(1), False),
        (map_of({2: torch.inf}), region(1), False),
        (map_of({1: 1.0}), region(1), True),
    ],
)
def test_what_cannot_be_said_is_nan(
    saliency: torch.Tensor, truth: torch.Tensor, void: bool
) -> None:
    found = measure_localisation(saliency, truth, void=torch.tensor([void]))
    for name in ("mass", "rank_accuracy", "pointing", "top_share"):
        assert getattr(found, name).isnan().all(), name
    assert found.area.isfinite().all()


def test_bad_input_is_named() -> None:
    with unchecked():
        with pytest.raises(InputContractError, match="one region and one void flag"):
            measure_localisation(map_of({1: 1.0}), torch.ones(1, 1, 2, 2, dtype=torch.bool))
        with pytest.raises(InputContractError, match="one region and one void flag"):
            measure_localisation(map_of({1: 1.0}), region(1), void=torch.zeros(2).bool())
    with pytest.raises(InputContractError, match=r"top_share is 0.0; expected a share in \(0, 1\]"):
        measure_localisation(map_of({1: 1.0}), region(1), top_share=0.0)


def test_sparseness_by_hand() -> None:
    flat, single = torch.ones(1, 1, SIDE, SIDE), map_of({3: -2.0})
    assert float(measure_sparseness(flat)) == pytest.approx(0, abs=1e-7)
    assert float(measure_sparseness(single)) == pytest.approx(1 - 1 / 16)
    # Two units 1 and 3: (-1 * 1 + 1 * 3) / (2 * 4).
    assert float(measure_sparseness(torch.tensor([[[[1.0, 3.0]]]]))) == pytest.approx(0.25)
    assert measure_sparseness(map_of({})).isnan().all()

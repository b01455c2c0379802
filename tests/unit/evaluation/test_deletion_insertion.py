import itertools

import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    area_under_curve,
    average_ranks,
    compute_deletion_insertion,
    rank_units,
)
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.baselines import BaselineSpec, blur_baseline
from covid_debug.perturbation.upsampling import GridUpsampler
from tests.toys import Additive, Constant, Patch, bright_patch_images, formula, wrap

BLACK = BaselineSpec("constant", 0.0)


def scorer(module: torch.nn.Module, n: int, side: int, *, max_batch: int = 7) -> TargetScore:
    classifier = wrap(module, side).double()
    return TargetScore(classifier, torch.ones(n, dtype=torch.int64), max_batch=max_batch)


@pytest.mark.parametrize("resolution", ["image", "grid"])
def test_additive_model_deletion_plus_insertion_is_both_end_points(resolution: str) -> None:
    images = formula((3, 1, 8, 8))
    score = scorer(Additive(formula((1, 1, 8, 8), seed=9)), 3, 8)
    saliency = formula((3, 1, 8, 8), seed=4)
    protocol = PerturbationProtocol(n_steps=5, resolution=resolution, grid_size=3)

    result = compute_deletion_insertion(score, images, saliency, protocol)

    index = torch.arange(3)
    expected = score(images, index) + score(blur_baseline(images), index)
    torch.testing.assert_close(
        result.deletion_score + result.insertion_score, expected, rtol=0, atol=1e-14
    )


def test_constant_model_scores_the_constant_exactly() -> None:
    images = formula((2, 1, 8, 8))
    protocol = PerturbationProtocol(n_steps=7, grid_size=4)

    result = compute_deletion_insertion(
        scorer(Constant(0.25), 2, 8), images, formula((2, 1, 8, 8), seed=2), protocol
    )

    quarter = torch.full((2,), 0.25, dtype=torch.float64)
    torch.testing.assert_close(result.deletion_score, quarter, rtol=0, atol=1e-15)
    torch.testing.assert_close(result.insertion_score, quarter, rtol=0, atol=1e-15)


def test_true_order_minimises_deletion_over_all_orders() -> None:
    images = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    weights = torch.tensor([0.4, 0.1, 0.3, 0.2], dtype=torch.float64).view(1, 1, 2, 2)
    score = scorer(Additive(weights), 1, 2)
    protocol = PerturbationProtocol(
        n_steps=4, resolution="image", deletion_baseline=BLACK, insertion_baseline=BLACK
    )

    def deletion(saliency: torch.Tensor) -> float:
        return float(compute_deletion_insertion(score, images, saliency, protocol).deletion_score)

    best = deletion(weights)
    others = [
        deletion(torch.tensor(order, dtype=torch.float64).view(1, 1, 2, 2))
        for order in itertools.permutations([0.0, 1.0, 2.0, 3.0])
    ]

    # Scores 1, .6, .3, .1, 0 at quarters: (1/2 + .6 + .3 + .1 + 0) / 4.
    assert best == pytest.approx(0.375, abs=1e-12)
    assert min(others) == pytest.approx(best, abs=1e-12)


def test_both_curves_contain_both_end_points() -> None:
    images = bright_patch_images(2).double()
    score = scorer(Patch(4, 4, 6), 2, 16)
    protocol = PerturbationProtocol(n_steps=10, grid_size=8)

    result = compute_deletion_insertion(score, images, images, protocol)

    index = torch.arange(2)
    on_film, on_baseline = score(images, index), score(blur_baseline(images), index)
    torch.testing.assert_close(result.deletion_curve[:, 0], on_film)
    torch.testing.assert_close(result.deletion_curve[:, -1], on_baseline)
    torch.testing.assert_close(result.insertion_curve[:, 0], on_baseline)
    torch.testing.assert_close(result.insertion_curve[:, -1], on_film)
    assert result.perturbed_fraction[0] == 0.0
    assert result.perturbed_fraction[-1] == 1.0


def test_fraction_is_the_true_share_when_steps_do_not_divide_units() -> None:
    images = formula((1, 1, 3, 3))
    protocol = PerturbationProtocol(n_steps=2, resolution="image")

    result = compute_deletion_insertion(scorer(Constant(0.5), 1, 3), images, images, protocol)

    torch.testing.assert_close(result.perturbed_fraction, torch.tensor([0, 4 / 9, 1]).double())


def test_result_does_not_depend_on_max_batch() -> None:
    images = bright_patch_images(3).double()
    protocol = PerturbationProtocol(n_steps=6, grid_size=5)
    results = [
        compute_deletion_insertion(
            scorer(Patch(4, 4, 6), 3, 16, max_batch=b), images, images, protocol
        )
        for b in (1, 100)
    ]

    torch.testing.assert_close(results[0].deletion_curve, results[1].deletion_curve)
    torch.testing.assert_close(results[0].insertion_curve, results[1].insertion_curve)


def test_ties_are_ranked_in_raster_order() -> None:
    ranks = rank_units(torch.tensor([[1.0, 2.0, 1.0, 2.0]]))

    torch.testing.assert_close(ranks, torch.tensor([[2.0, 0.0, 3.0, 1.0]]).double())


def test_area_under_a_line_is_its_mean() -> None:
    fraction = torch.tensor([0.0, 0.1, 1.0])

    torch.testing.assert_close(area_under_curve(1 - fraction[None], fraction), torch.tensor([0.5]))


def test_non_finite_maps_are_counted_not_dropped() -> None:
    images = formula((2, 1, 4, 4))
    saliency = images.clone()
    saliency[1, 0, 0, 0] = torch.nan
    protocol = PerturbationProtocol(n_steps=2, grid_size=2)

    result = compute_deletion_insertion(scorer(Constant(0.5), 2, 4), images, saliency, protocol)

    assert (result.n_scored, result.n_total) == (1, 2)
    assert result.deletion_score.isnan().tolist() == [False, True]


def test_scale_mismatch_is_refused() -> None:
    images = formula((1, 1, 4, 4))

    with pytest.raises(InputContractError, match="score is on the probability scale"):
        compute_deletion_insertion(
            scorer(Constant(0.5), 1, 4), images, images, PerturbationProtocol(scale="logit")
        )


def test_protocol_refuses_zero_steps() -> None:
    with pytest.raises(InputContractError, match="n_steps is 0"):
        PerturbationProtocol(n_steps=0)


def test_steps_take_the_nearest_number_of_units() -> None:
    images = formula((1, 1, 4, 4))  # 16 units in 6 steps: 2.67, 5.33, 8, ...
    protocol = PerturbationProtocol(n_steps=6, resolution="image")

    result = compute_deletion_insertion(scorer(Constant(0.5), 1, 4), images, images, protocol)

    expected = torch.tensor([0, 3, 5, 8, 11, 13, 16]).double() / 16
    torch.testing.assert_close(result.perturbed_fraction, expected)


def test_deletion_and_insertion_have_baselines_of_their_own() -> None:
    images = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    score = scorer(Additive(torch.ones(1, 1, 2, 2).double()), 1, 2)
    protocol = PerturbationProtocol(
        n_steps=1,
        resolution="image",
        deletion_baseline=BaselineSpec("constant", 0.25),
        insertion_baseline=BaselineSpec("constant", 0.75),
    )

    result = compute_deletion_insertion(score, images, images, protocol)

    assert result.deletion_curve[0].tolist() == pytest.approx([0.5, 0.25])
    assert result.insertion_curve[0].tolist() == pytest.approx([0.75, 0.5])


def test_expected_area_of_an_additive_model_is_exact_from_one_pair_of_orders() -> None:
    # Units 0 and 3 go first, then four tied units, then three more: in expectation the tied ones
    # go in equal parts.
    images = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    weights = formula((1, 1, 3, 3), seed=3)
    saliency = torch.tensor([3.0, 1, 1, 2, 0, 1, 1, -1, -2]).double().view(1, 1, 3, 3)
    protocol = PerturbationProtocol(
        n_steps=9, resolution="image", deletion_baseline=BLACK, insertion_baseline=BLACK,
        n_order_pairs=1,
    )  # fmt: skip

    result = compute_deletion_insertion(scorer(Additive(weights), 1, 3), images, saliency, protocol)

    share = (weights / weights.sum()).flatten().tolist()
    tied = sum(share[k] for k in (1, 2, 5, 6)) / 4
    parts = [share[0], share[3], tied, tied, tied, tied, share[4], share[7], share[8]]
    left = [1 - sum(parts[:k]) for k in range(10)]
    expected = sum(a + b for a, b in itertools.pairwise(left)) / 18
    assert float(result.deletion_score) == pytest.approx(expected, abs=1e-12)
    assert float(result.insertion_score) == pytest.approx(1 - expected, abs=1e-12)


def test_expected_score_is_the_mean_over_all_orders_of_the_ties() -> None:
    images = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    saliency = torch.tensor([[[[0.5, 0.5], [0.5, 0.9]]]]).double()
    score = scorer(Patch(0, 0, 1, steepness=9.0), 1, 2)  # reads the first pixel alone
    blacks = {"deletion_baseline": BLACK, "insertion_baseline": BLACK, "resolution": "image"}

    def deletion(order: tuple[float, ...]) -> float:
        ranked = torch.tensor([*order, 9.0]).double().view(1, 1, 2, 2)
        protocol = PerturbationProtocol(n_steps=4, **blacks)
        return float(compute_deletion_insertion(score, images, ranked, protocol).deletion_score)

    every = [deletion(order) for order in itertools.permutations([1.0, 2.0, 3.0])]
    protocol = PerturbationProtocol(n_steps=4, n_order_pairs=400, **blacks)
    result = compute_deletion_insertion(score, images, saliency, protocol)

    assert max(every) - min(every) > 0.2
    assert float(result.deletion_score) == pytest.approx(sum(every) / 6, abs=0.01)


def test_cells_that_a_mask_left_alone_are_ties_also_after_projection() -> None:
    grid = torch.zeros(1, 1, 6, 6)
    grid[0, 0, 2, 3], grid[0, 0, 4, 1] = 1.0, 0.4
    images = bright_patch_images(1)
    saliency = GridUpsampler((6, 6), (16, 16), images).upsample(grid)
    score = TargetScore(wrap(Patch(4, 4, 6)), torch.ones(1, dtype=torch.int64))
    protocol = PerturbationProtocol(n_steps=9, grid_size=6, n_order_pairs=3)

    result = compute_deletion_insertion(score, images, saliency, protocol)

    # Nine cuts: none at the two ends, eight among the 34 tied cells.
    assert score.n_evaluations == 2 * (2 + 8 * 6)
    assert result.n_scored == 1


@pytest.mark.parametrize("value", [0.0, 1e-3])
def test_cells_of_a_constant_map_are_ties_all_of_them(value: float) -> None:
    # What the projection adds to a constant by rounding is no order.
    images = torch.ones(1, 1, 64, 64)
    saliency = torch.full_like(images, value)
    score = TargetScore(wrap(Patch(4, 4, 6), 64), torch.ones(1, dtype=torch.int64))
    protocol = PerturbationProtocol(n_steps=9)

    compute_deletion_insertion(score, images, saliency, protocol)

    assert score.n_evaluations == 2 * (2 + 8 * 4)


def test_a_ranking_without_ties_needs_one_order() -> None:
    images = formula((2, 1, 8, 8))
    saliency = formula((2, 1, 8, 8), seed=5)
    score = scorer(Patch(1, 1, 3), 2, 8)
    found = compute_deletion_insertion(score, images, saliency, PerturbationProtocol(grid_size=4))
    evaluations = score.n_evaluations
    raster = compute_deletion_insertion(
        score, images, saliency, PerturbationProtocol(grid_size=4, ties="raster")
    )

    assert evaluations < 2 * 2 * 51 * 1.2  # 16 units in 50 steps: a cut may repeat, none is open
    torch.testing.assert_close(found.deletion_curve, raster.deletion_curve)


def test_average_ranks_are_shared_by_ties() -> None:
    ranks = average_ranks(torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]]))

    assert ranks.tolist() == [[3.0, 0.5, 3.0, 0.5, 3.0], [0.0, 1.0, 2.0, 3.0, 4.0]]

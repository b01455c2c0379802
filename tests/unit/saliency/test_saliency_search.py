import pytest
import torch

from covid_debug.errors import ExplanationError, InputContractError
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.baselines import blur_baseline
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.saliency.base import VOID_GAP, VOID_NOISE, VOID_UNMOVED, ImageGroup
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.igos_pp import IGOSPP
from covid_debug.saliency.mask_objective import MaskObjective, Term, path_nodes
from covid_debug.saliency.mask_params import MaskSearchParams, resolve_step_size
from covid_debug.saliency.mask_search import SearchResult, choose_noise
from covid_debug.saliency.optimizers import minimise
from covid_debug.saliency.ordering import AREAS, choose_mask, draw_mask
from covid_debug.saliency.path_gradient import integrate_path
from covid_debug.saliency.ranking import TIE_SHARE, rank_cells
from tests.toys import SIDE, Additive, Patch, bright_patch_images, formula, unchecked, wrap

ONES = torch.ones(1, dtype=torch.int64)
CLAMPED = {"mask_form": "clamped", "n_start": 0}


@pytest.mark.parametrize(("quadrature", "n_steps"), [("riemann", 7), ("rotating", 4)])
def test_path_weights_sum_to_one_and_nodes_lie_on_the_path(quadrature: str, n_steps: int) -> None:
    nodes, weights = path_nodes(quadrature, n_steps)

    assert len(nodes) == len(weights) == n_steps
    assert sum(weights) == pytest.approx(1.0)
    assert all(0 < t <= 1 for t in nodes)


def test_end_of_the_path_is_the_mask_itself() -> None:
    assert path_nodes("end", 9) == ([1.0], [1.0])


@pytest.mark.parametrize("name", ["igos_pp", "igos", "igos_plus", "mask"])
@pytest.mark.parametrize("optimizer", ["adam", "fixed", "line_search"])
def test_cells_that_cannot_matter_stay_exactly_one(name: str, optimizer: str) -> None:
    images = bright_patch_images(1)
    explainer = build_explainer(
        name,
        grid_size=6,
        n_iterations=4,
        optimizer=optimizer,
        tv_weight=0.0,
        noise_std=0.0,
        area_weight=0.5,
        **CLAMPED,
    )

    result = explainer.explain(wrap(Patch(4, 4, 6)), images, ONES, seeds=[1])

    # Nodes lie 3 pixels apart; those at 0, 12 and 15 have no support on pixels 4 to 9.
    keep = result.keep_mask[0, 0]
    outside = torch.ones(6, 6, dtype=torch.bool)
    outside[1:4, 1:4] = False
    assert bool((keep[outside] == 1).all())
    assert float(keep[2:4, 2:4].min()) < 1


def test_integrated_gradient_of_an_additive_score_is_exact() -> None:
    images = formula((1, 1, 8, 8))
    weights = formula((1, 1, 8, 8), seed=4)
    classifier = wrap(Additive(weights), 8).double()
    baseline = torch.zeros_like(images)
    params = MaskSearchParams(grid_size=8, n_steps=3, area_weight=0.0, tv_weight=0.0, noise_std=0.0)
    group = ImageGroup(TargetScore(classifier, ONES), images, baseline, [])
    objective = MaskObjective(group, params, [Term("deletion", (0,), 1.0)])
    masks = 0.5 * torch.ones(1, 1, 8, 8, dtype=torch.float64)

    value, gradient = objective.value_and_gradient(masks, torch.zeros(1, dtype=torch.int64))

    # f(t * M * I) = t * sum w I M, integrated over t: half of it.
    expected = weights / weights.sum() * images / 2
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(value, (expected * masks).sum()[None])
    torch.testing.assert_close(objective.value(masks, torch.zeros(1, dtype=torch.int64)), value)


@pytest.mark.parametrize("search_objective", ["path", "mask"])
def test_alternating_terms_average_to_the_joint_objective(search_objective: str) -> None:
    images = bright_patch_images(2)
    score = TargetScore(wrap(Patch(4, 4, 6)), ONES.repeat(2))
    group = ImageGroup(score, images, blur_baseline(images), [])
    masks = formula((2, 2, 6, 6)).float().clamp(0, 1)
    rows = torch.arange(2)

    def evaluate(order: str, n_draws: int) -> list[torch.Tensor]:
        params = MaskSearchParams(
            grid_size=6, n_steps=3, quadrature="riemann", term_order=order,
            search_objective=search_objective,
        )  # fmt: skip
        objective = MaskObjective(group, params, IGOSPP.terms)
        sums = [torch.zeros(2), torch.zeros_like(masks), torch.zeros(2)]
        for _ in range(n_draws):
            objective.draw([], torch.zeros(2))
            value, gradient = objective.value_and_gradient(masks, rows)
            alone = objective.value(masks, rows)
            parts = (value, gradient, alone)
            sums = [total + part / n_draws for total, part in zip(sums, parts, strict=True)]
        return sums

    for found, expected in zip(evaluate("alternating", 2), evaluate("joint", 1), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_map_ranks_by_the_mask_and_the_gradient_is_a_result_of_its_own() -> None:
    images = bright_patch_images(1)
    classifier = wrap(Patch(4, 4, 6))
    options = {"grid_size": 6, "n_iterations": 8, "noise_std": 0.0, "area_weight": 2.0}

    by_mask, by_both, by_gradient = (
        build_explainer("igos", ranking=ranking, **options).explain(
            classifier, images, ONES, seeds=[1]
        )
        for ranking in ("mask", "mask_then_gradient", "gradient")
    )

    nodes = [0, 3, 6, 9, 12, 15]  # pixels on which the grid's nodes lie
    at_nodes = [r.saliency[:, :, nodes][..., nodes] for r in (by_mask, by_both, by_gradient)]
    keep, gradient = by_mask.keep_mask, by_mask.path_gradient
    torch.testing.assert_close(at_nodes[0], 1 - keep)
    untouched = keep == 1
    assert untouched.sum() > 4
    assert len(at_nodes[0][untouched].unique()) == 1
    assert float((by_mask.saliency - by_both.saliency).abs().max()) <= TIE_SHARE
    assert len(at_nodes[1][untouched].unique()) > 4
    assert float(at_nodes[1][untouched].max()) < float(at_nodes[1][~untouched].max())
    scaled = (gradient - gradient.min()) / (gradient.max() - gradient.min())
    torch.testing.assert_close(at_nodes[2], scaled)
    for other in (by_both, by_gradient):
        assert torch.equal(other.keep_mask, keep)
        assert torch.equal(other.path_gradient, gradient)


def test_a_mask_that_did_not_move_is_not_made_an_explanation_by_its_gradient() -> None:
    keep, gradient = torch.ones(1, 1, 2, 2), torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])

    assert torch.equal(rank_cells(keep, gradient, "mask_then_gradient"), torch.zeros(1, 1, 2, 2))
    assert torch.equal(rank_cells(keep, gradient, "gradient"), gradient / 4)


def test_bad_rankings_and_grids_are_refused() -> None:
    keep = torch.ones(1, 1, 2, 2)
    with unchecked(), pytest.raises(InputContractError, match="ranking is 'ties'; expected one"):
        rank_cells(keep, keep, "ties")
    with unchecked(), pytest.raises(InputContractError, match="expected the same grid"):
        rank_cells(keep, torch.ones(1, 1, 3, 3), "mask")


def test_path_gradient_of_an_additive_score_is_exact_and_complete() -> None:
    images, weights = formula((1, 1, SIDE, SIDE)).float(), formula((1, 1, SIDE, SIDE), seed=4)
    classifier = wrap(Additive(weights.float()), SIDE)
    baseline = torch.full_like(images, 0.25)

    result = build_explainer("path_gradient", grid_size=6, n_steps=3).explain(
        classifier, images, ONES, seeds=[0], baseline=baseline
    )

    gap = result.diagnostics["score_gap"]
    torch.testing.assert_close(result.path_gradient.sum(dim=(1, 2, 3)), gap, rtol=1e-4, atol=1e-6)
    upsampler = GridUpsampler((6, 6), (SIDE, SIDE), images)
    share = (weights / weights.sum()).float() * (images - baseline)
    expected = upsampler._rows.T @ share @ upsampler._columns
    torch.testing.assert_close(result.path_gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.saliency, upsampler.upsample(result.path_gradient))
    assert result.keep_mask is None
    assert result.n_evaluations == 3 + 2


def test_path_gradient_is_the_search_at_a_frozen_mask() -> None:
    images, classifier = bright_patch_images(1), wrap(Patch(4, 4, 6))
    n_steps = 64

    frozen = build_explainer(
        "igos_plus", grid_size=6, n_iterations=1, optimizer="fixed", step_size=1e-9,
        n_steps=n_steps, quadrature="riemann", noise_std=0.0, area_weight=0.0, tv_weight=0.0,
    ).explain(classifier, images, ONES, seeds=[0])  # fmt: skip
    found = build_explainer("path_gradient", grid_size=6, n_steps=n_steps).explain(
        classifier, images, ONES, seeds=[0]
    )

    # Deletion weighs a point of the path by t, insertion by 1 - t: together every point alike.
    scale = float(found.path_gradient.abs().max())
    torch.testing.assert_close(found.path_gradient, frozen.path_gradient, rtol=0, atol=0.03 * scale)


class Bowl:
    """``J = sum (m - target)^2`` per image; counts evaluations."""

    def __init__(self, target: torch.Tensor) -> None:
        self.target = target
        self.unit = torch.ones(len(target))

    def draw(self, generators, noise_std) -> None:
        pass

    def value(self, masks: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (masks - self.target[rows]).square().flatten(1).sum(dim=1)

    def value_and_gradient(self, masks: torch.Tensor, rows: torch.Tensor):
        return self.value(masks, rows), 2 * (masks - self.target[rows])


@pytest.mark.parametrize(
    ("optimizer", "step_size", "n_iterations"),
    [("line_search", 1.0, 30), ("adam", 0.05, 150), ("fixed", 0.2, 40)],
)
def test_every_optimiser_finds_the_projected_minimum(
    optimizer: str, step_size: float, n_iterations: int
) -> None:
    target = torch.tensor([[0.3, -0.5], [1.4, 0.8]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    target[1] = 0.6

    masks, _, diagnostics = minimise(
        Bowl(target), torch.ones(2, 1, 2, 2), [], torch.zeros(2),
        rule=optimizer, step_size=step_size, n_iterations=n_iterations,
    )  # fmt: skip

    torch.testing.assert_close(masks, target.clamp(0, 1), rtol=0, atol=0.03)
    assert diagnostics["loss"].shape == (2, n_iterations)
    loss = diagnostics["loss"]
    assert bool((loss[:, -1] < loss[:, 0]).all())


def test_line_search_counts_trials_per_image_and_leaves_others_alone() -> None:
    target = torch.zeros(2, 1, 2, 2)
    target[1] = 1.0  # already at its minimum

    masks, _, diagnostics = minimise(
        Bowl(target), torch.ones(2, 1, 2, 2), [], torch.zeros(2),
        rule="line_search", step_size=1.0, n_iterations=1,
    )  # fmt: skip

    assert torch.equal(masks[0], torch.zeros(1, 2, 2))
    assert torch.equal(masks[1], torch.ones(1, 2, 2))
    # 4 = |TG|^2 / 4; Armijo: 4 >= a * 1e-4 * 16 holds only from a <= 2500, so at the first trial.
    assert diagnostics["n_line_search"].tolist() == [1, 1]


@torch.no_grad()
def test_noise_that_moves_the_score_is_halved_until_it_does_not() -> None:
    images = bright_patch_images(2)
    score = TargetScore(wrap(Patch(4, 4, 6, steepness=60.0)), torch.ones(2, dtype=torch.int64))
    generators = [torch.Generator().manual_seed(i) for i in (1, 2)]
    params = MaskSearchParams(noise_std=4.0)

    noise_std, diagnostics = choose_noise(ImageGroup(score, images, 0 * images, generators), params)

    assert float(noise_std.min()) < 4.0
    assert bool(diagnostics["noise_survives"].all())
    moved = (diagnostics["score_noisy"] - score(images, torch.arange(2))).abs()
    assert float(moved.max()) <= 0.1


def test_published_noise_that_destroys_the_gap_is_reported_as_void() -> None:
    images = bright_patch_images(1)
    explainer = build_explainer(
        "igos_pp", grid_size=4, n_iterations=3, noise_rule="fixed", noise_std=50.0
    )

    result = explainer.explain(wrap(Patch(4, 4, 6, steepness=60.0)), images, ONES, seeds=[3])

    assert int(result.diagnostics["void_reason"][0]) in {VOID_NOISE, VOID_UNMOVED}


def test_a_price_that_is_too_high_gives_an_unmoved_void_mask() -> None:
    explainer = build_explainer("igos_pp", grid_size=4, area_weight=1e4, **CLAMPED)

    result = explainer.explain(wrap(Patch(4, 4, 6)), bright_patch_images(1), ONES, seeds=[3])

    assert int(result.diagnostics["void_reason"][0]) == VOID_UNMOVED
    assert float(result.saliency.max()) == 0.0


def test_saliency_marks_the_patch_that_the_model_reads() -> None:
    images = bright_patch_images(1)

    result = build_explainer("igos_pp", grid_size=8).explain(
        wrap(Patch(4, 4, 6)), images, ONES, seeds=[3]
    )

    inside = result.saliency[..., 4:10, 4:10].mean()
    outside = (result.saliency.sum() - 36 * inside) / (SIDE**2 - 36)
    assert not bool(result.diagnostics["void"][0])
    assert float(inside) > 5 * float(outside)


@pytest.mark.parametrize("transform", ["flip", "transpose"])
def test_map_follows_flips_and_transposition(transform: str) -> None:
    def change(x: torch.Tensor) -> torch.Tensor:
        return x.flip(-1) if transform == "flip" else x.mT.contiguous()

    images = bright_patch_images(1, top=2, left=5)
    explainer = build_explainer("igos_pp", grid_size=6, n_iterations=5, noise_std=0.0)
    here, there = Patch(2, 5, 6), Patch(2, 5, 6) if transform == "flip" else Patch(5, 2, 6)

    expected = change(explainer.explain(wrap(here), images, ONES, seeds=[1]).saliency)
    found = explainer.explain(wrap(there), change(images), ONES, seeds=[1]).saliency

    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("result", ["deletion_mask", "insertion_mask"])
def test_single_masks_of_igos_pp_can_be_asked_for(result: str) -> None:
    images = bright_patch_images(1)
    options = {"grid_size": 6, "n_iterations": 5, "noise_std": 0.0, **CLAMPED}
    classifier = wrap(Patch(4, 4, 6))

    alone = build_explainer("igos_pp", result=result, **options)
    product = build_explainer("igos_pp", **options)

    kept = alone.explain(classifier, images, ONES, seeds=[1]).keep_mask
    both = product.explain(classifier, images, ONES, seeds=[1]).keep_mask
    assert bool((kept >= both).all())
    assert not torch.equal(kept, both)


def test_grid_of_the_image_size_uses_the_published_pixel_price() -> None:
    images = bright_patch_images(1)
    params = MaskSearchParams(grid_size=SIDE)
    score = TargetScore(wrap(Patch(4, 4, 6)), ONES)
    group = ImageGroup(score, images, blur_baseline(images), [])

    pixels = MaskObjective(group, params, IGOSPP.terms)
    cells = MaskObjective(group, MaskSearchParams(grid_size=4), IGOSPP.terms)

    assert pixels.area_weight == 10.0
    assert cells.area_weight == 1.0


@pytest.mark.parametrize(
    ("params", "is_pixel_mask", "expected"),
    [
        ({}, False, 0.1),
        ({}, True, 0.3),
        ({"optimizer": "fixed"}, True, 1.0),
        ({"step_size": 0.7}, True, 0.7),
    ],
)
def test_open_step_size_follows_the_optimiser_and_the_grid(
    params: dict, is_pixel_mask: bool, expected: float
) -> None:
    found = resolve_step_size(MaskSearchParams(**params), is_pixel_mask=is_pixel_mask)

    assert found == expected


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"grid_size": 0}, "grid_size is 0"),
        ({"step_size": 0.0}, "step_size is 0.0"),
        ({"noise_std": -1.0}, "noise_std is -1.0"),
        ({"tv_power": 0.0}, "tv_power is 0.0"),
        ({"search_objective": "mask"}, "needs a path that ends at the mask"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'"),
    ],
)
def test_bad_parameters_are_named(params: dict, message: str) -> None:
    with unchecked(), pytest.raises(InputContractError, match=message):
        MaskSearchParams(**params)


def test_grid_finer_than_the_image_is_refused() -> None:
    with pytest.raises(InputContractError, match="grid_size has 17 cells for 16 pixels"):
        build_explainer("igos_pp", grid_size=17).explain(
            wrap(Patch(4, 4, 6)), bright_patch_images(1), ONES, seeds=[1]
        )


def test_cost_is_linear_in_images_and_does_not_depend_on_max_batch() -> None:
    classifier, explainer = wrap(Patch(4, 4, 6)), build_explainer("igos_pp", grid_size=4)

    def evaluations(n: int, max_batch: int) -> int:
        targets = torch.ones(n, dtype=torch.int64)
        result = explainer.explain(
            classifier,
            bright_patch_images(1).repeat(n, 1, 1, 1),
            targets,
            seeds=[1] * n,
            max_batch=max_batch,
        )
        return result.n_evaluations

    assert evaluations(4, 64) == 4 * evaluations(1, 64) == 4 * evaluations(1, 3)


def test_model_calls_never_exceed_max_batch() -> None:
    seen: list[int] = []

    class Watching(Patch):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return super().forward(images)

    classifier = wrap(Watching(4, 4, 6))
    seen.clear()

    build_explainer("igos_pp_published", grid_size=4, n_iterations=1).explain(
        classifier, bright_patch_images(5), torch.ones(5, dtype=torch.int64), seeds=range(5),
        max_batch=7,
    )  # fmt: skip

    assert max(seen) <= 7


@torch.no_grad()
def test_noise_is_halved_to_the_largest_size_that_moves_the_score_by_a_tenth_of_the_gap() -> None:
    pixel = torch.zeros(1, 1, 4, 4)
    pixel[..., 0, 0] = 1.0  # the score is this pixel, so noise z of size s moves it by s * |z|
    images, baseline = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.1)
    score = TargetScore(wrap(Additive(pixel), 4), torch.ones(2, dtype=torch.int64))
    z = [
        float(torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(i))[0, 0, 0].abs())
        for i in (1, 2)
    ]
    tolerance = 0.1 * (0.5 - 0.1)
    size = 3 * tolerance / z[0]  # of film 0 a quarter survives
    expected = [
        next(f for f in (1, 0.5, 0.25, 0.125, 0) if f * size * one <= tolerance) * size for one in z
    ]

    generators = [torch.Generator().manual_seed(i) for i in (1, 2)]
    noise_std, _ = choose_noise(
        ImageGroup(score, images, baseline, generators), MaskSearchParams(noise_std=size)
    )

    assert expected[0] == size / 4
    assert noise_std.tolist() == pytest.approx(expected)


def test_mean_gradient_is_the_mean_over_the_steps() -> None:
    start, target = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)

    _, mean_gradient, diagnostics = minimise(
        Bowl(target), start, [], torch.zeros(1), rule="fixed", step_size=0.1, n_iterations=3
    )

    # Each step leaves 1 - 2 * 0.1 of the way; the gradient is twice what is left of it.
    left = [1.0, 0.8, 0.64]
    torch.testing.assert_close(mean_gradient, torch.full_like(start, 2 * sum(left) / 3))
    torch.testing.assert_close(diagnostics["loss"], 4 * torch.tensor([left]).square())


@pytest.mark.parametrize(
    ("result", "kept"), [("product", 0.125), ("deletion_mask", 0.25), ("insertion_mask", 0.5)]
)
def test_result_of_igos_pp_is_the_mask_that_its_terms_name(monkeypatch, result, kept) -> None:
    deletion, insertion = (IGOSPP.terms[i].masks for i in (0, 1))
    values = torch.tensor([0.25, 0.5])[[*deletion, *insertion]]
    masks = values.view(1, 2, 1, 1).expand(1, 2, 4, 4)
    images = bright_patch_images(1)
    upsampler = GridUpsampler((4, 4), (SIDE, SIDE), images)
    group = ImageGroup(TargetScore(wrap(Patch(4, 4, 6)), ONES), images, images, [])
    found = SearchResult(masks, None, group, torch.zeros_like(masks), {}, upsampler, "mask")
    monkeypatch.setattr("covid_debug.saliency.igos_pp.search_masks", lambda *_: found)

    raw = build_explainer("igos_pp", result=result)._explain(group)

    torch.testing.assert_close(raw.keep_mask, torch.full((1, 1, 4, 4), kept))
    torch.testing.assert_close(raw.saliency, torch.full((1, 1, SIDE, SIDE), 1 - kept))


def test_map_means_nothing_where_the_baseline_speaks_more_for_the_target_than_the_film() -> None:
    classifier = wrap(Additive(torch.ones(SIDE, SIDE)))  # p is the mean intensity
    film = torch.full((1, 1, SIDE, SIDE), 0.25)

    found = build_explainer("occlusion", window_px=4, stride_px=4).explain(
        classifier, film, torch.tensor([1]), seeds=[0], baseline=film + 0.5, scale="probability"
    )

    assert found.diagnostics["score_gap"].item() == pytest.approx(-0.5, abs=1e-6)
    assert found.diagnostics["void_reason"].item() == VOID_GAP


def test_cells_of_a_sigmoid_mask_keep_the_order_of_their_effect() -> None:
    images = torch.full((1, 1, 8, 8), 0.8)
    weights = 0.02 * formula((1, 1, 8, 8), seed=4)
    classifier = wrap(Additive(weights), 8)

    result = build_explainer("igos_pp", grid_size=8, tv_weight=0.0, area_weight=0.0).explain(
        classifier, images, ONES, seeds=[1], baseline=torch.zeros_like(images), scale="logit"
    )

    # An additive score: every cell's gradient is its weight, wherever the search stands.
    effect = weights.flatten() if float(result.diagnostics["score_gap"]) > 0 else -weights.flatten()
    assert torch.equal(result.keep_mask.flatten().argsort(), (-effect).argsort())
    assert len(result.keep_mask.unique()) == 64


def test_drawn_mask_removes_half_of_the_cell_at_the_border_of_its_area() -> None:
    cells = formula((2, 1, 5, 5), seed=2)

    keep = draw_mask(cells, 0.25)

    assert [int((one < 0.5).sum()) for one in keep] == [6, 6]
    assert torch.equal(keep.flatten(1).argsort(), (-cells).flatten(1).argsort())
    assert torch.equal(draw_mask(torch.ones(1, 1, 3, 3), 0.25), torch.ones(1, 1, 3, 3))


@pytest.mark.parametrize(
    ("n_cells", "gap", "area"),
    [(2, 0.9, 0.02), (5, 0.9, 0.05), (12, 0.9, 0.12), (5, 0.02, 0.0), (5, -0.9, 0.0)],
)
def test_mask_has_the_area_that_pays(n_cells, gap, area) -> None:
    weights = torch.zeros(10, 10)
    weights.flatten()[:n_cells] = 1.0
    film, nothing = torch.full((1, 1, 10, 10), abs(gap)), torch.zeros(1, 1, 10, 10)
    if gap < 0:
        film, nothing = nothing, film
    score = TargetScore(wrap(Additive(weights), 10), ONES)
    group = ImageGroup(score, film, nothing, [])

    keep, areas = choose_mask(group, GridUpsampler((10, 10), (10, 10), film), weights[None, None])

    assert float(areas) == pytest.approx(area)
    assert int((keep < 0.5).sum()) == (n_cells if area else 0)
    assert area or bool((keep == 1).all())
    assert score.n_evaluations == 2 + 2 * len(AREAS)


@pytest.mark.parametrize("name", ["igos_pp", "area_path"])
def test_gradient_that_is_no_number_is_said_and_not_called_a_mask_that_did_not_move(name) -> None:
    class Broken(Patch):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nothing = (images - images).abs().sqrt().sum(dim=(1, 2, 3))
            return super().forward(images) + nothing[:, None]

    with pytest.raises(ExplanationError, match="not finite"):
        build_explainer(name, grid_size=4).explain(
            wrap(Broken(4, 4, 6)), bright_patch_images(1), ONES, seeds=[0]
        )


def test_deletion_and_insertion_shares_of_a_path_sum_to_the_path_gradient() -> None:
    images = bright_patch_images(2)
    baseline = blur_baseline(images)
    score = TargetScore(wrap(Patch(4, 4, 6)), torch.ones(2, dtype=torch.int64), max_batch=3)
    group, upsampler = (
        ImageGroup(score, images, baseline, []),
        GridUpsampler((4, 4), (SIDE, SIDE), images),
    )

    both = integrate_path(group, upsampler, 5, lambda t: torch.stack([t, 1 - t], dim=1))

    whole = integrate_path(group, upsampler, 5)
    assert both.shape == (2, 2, 4, 4)
    torch.testing.assert_close(both.sum(dim=1, keepdim=True), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({"mask_form": "clamped", "n_start": 4}, "choose it or n_start 0"),
        ({"mask_form": "sigmoid", "optimizer": "line_search"}, "choose mask_form 'clamped'"),
    ],
)
def test_forms_of_a_mask_that_a_search_cannot_have_are_refused(
    params: dict[str, object], remedy: str
) -> None:
    with pytest.raises(InputContractError, match=remedy):
        build_explainer("igos_pp", **params)

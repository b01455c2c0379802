"""RISE, LEG and LEG-TV against loop-level transcriptions of their papers."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import torch
from igos_pp_twin import upsample
from papers_twin import blur, draw_leg_perturbations

from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SmallNet, bright_patch_images, wrap

SIDE = 8


@pytest.fixture
def problem():
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(1, SIDE, 2, 2, 3).double()
    score = TargetScore(classifier, torch.zeros(1, dtype=torch.int64), max_batch=4)

    def f(image) -> float:
        with torch.no_grad():
            return float(classifier(image[None, None]).softmax(1)[0, 0])

    return score, images, f


def test_rise_equals_its_slow_twin(problem) -> None:
    score, images, f = problem
    cells, n_masks, p = 3, 12, 0.4
    explainer = build_explainer("rise", n_masks=n_masks, mask_grid=cells, p_keep=p)

    with torch.no_grad():
        raw = explainer._explain(
            ImageGroup(score, images, blur(images), [torch.Generator().manual_seed(3)])
        )

    generator = torch.Generator().manual_seed(3)
    grids = (torch.rand(n_masks, cells, cells, generator=generator) < p).double()
    cell = math.ceil(SIDE / cells)
    down = torch.randint(cell, (n_masks,), generator=generator)
    right = torch.randint(cell, (n_masks,), generator=generator)
    total = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    for k in range(n_masks):
        large = upsample(grids[k], (cells + 1) * cell, (cells + 1) * cell)
        y, x = int(down[k]), int(right[k])
        mask = large[y : y + SIDE, x : x + SIDE]
        total += f(images[0, 0] * mask) * mask
    torch.testing.assert_close(raw.saliency[0, 0], total / (n_masks * p), rtol=1e-9, atol=1e-12)


def dense_differences(side: int) -> np.ndarray:
    rows = []
    for (i, j), (k, m) in itertools.product(
        itertools.product(range(side), repeat=2), itertools.product(range(side), repeat=2)
    ):
        if (k - i, m - j) in {(1, 0), (0, 1)}:
            row = np.zeros(side * side)
            row[i * side + j], row[k * side + m] = -1.0, 1.0
            rows.append(row)
    return np.array(rows)


def moment_twin(f, image, z) -> np.ndarray:
    total = np.zeros(z[0].numel())
    for grid in z:
        moved = (image + upsample(grid, SIDE, SIDE)).clamp(0, 1)
        total += (f(moved) - f(image)) * grid.numpy().ravel()
    return total / len(z)


def sigma_twin(side: int, variance: float) -> np.ndarray:
    _, theta, vt = np.linalg.svd(dense_differences(side), full_matrices=False)
    p = side * side
    return variance * (vt.T @ np.diag(theta**2) @ vt + np.ones((p, p)) / p)


def draws(grid: int, n_samples: int, variance: float) -> torch.Tensor:
    return draw_leg_perturbations(grid, n_samples, variance, torch.Generator().manual_seed(5))


def test_perturbations_have_the_papers_covariance() -> None:
    side, n, variance = 3, 20_000, 0.5
    z = draws(side, n, variance).reshape(n, -1).numpy()
    expected = sigma_twin(side, variance)

    # Standard error of a covariance is below 2 * variance_max / sqrt(n) = 0.03; five of them.
    np.testing.assert_allclose(np.cov(z.T), expected, atol=0.15)


def test_leg_equals_its_slow_twin(problem) -> None:
    score, images, f = problem
    side, n, variance = 4, 15, 0.01
    explainer = build_explainer("leg", grid_size=side, n_samples=n, variance=variance)

    with torch.no_grad():
        raw = explainer._explain(
            ImageGroup(score, images, blur(images), [torch.Generator().manual_seed(5)])
        )

    moment = moment_twin(f, images[0, 0], draws(side, n, variance))
    gamma = np.linalg.inv(sigma_twin(side, variance)) @ moment
    expected = upsample(torch.from_numpy(gamma.reshape(side, side)), SIDE, SIDE)
    torch.testing.assert_close(raw.diagnostics["signed"][0, 0], expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(raw.saliency, raw.diagnostics["signed"].abs())


def test_leg_tv_reaches_the_optimum_of_the_papers_dense_program(problem) -> None:
    score, images, f = problem
    side, n, variance, k = 4, 15, 0.01, 0.3
    explainer = build_explainer(
        "leg_tv", grid_size=side, n_samples=n, variance=variance, tolerance=k
    )
    moment = moment_twin(f, images[0, 0], draws(side, n, variance))

    found = explainer._estimate(moment.reshape(side, side)).ravel()

    d = dense_differences(side)
    plus_t = np.linalg.pinv(d).T
    sigma = sigma_twin(side, variance)
    slack = k * np.abs(plus_t @ moment).max()
    residual = np.abs(plus_t @ (moment - sigma @ found)).max()
    assert residual <= slack * (1 + 1e-6)
    a, c = plus_t @ sigma, plus_t @ moment
    e, p = d.shape
    dense = scipy.optimize.linprog(
        np.concatenate([np.zeros(p), np.ones(e)]),
        A_ub=np.block(
            [[d, -np.eye(e)], [-d, -np.eye(e)], [a, np.zeros((e, e))], [-a, np.zeros((e, e))]]
        ),
        b_ub=np.concatenate([np.zeros(2 * e), c + slack, slack - c]),
        bounds=[(None, None)] * p + [(0, None)] * e,
    )
    assert np.abs(d @ found).sum() == pytest.approx(dense.fun, rel=1e-5)
    assert found.mean() == pytest.approx(moment.mean() / variance)
    with torch.no_grad():
        raw = explainer._explain(
            ImageGroup(score, images, blur(images), [torch.Generator().manual_seed(5)])
        )
    expected = upsample(torch.from_numpy(found.reshape(side, side)), SIDE, SIDE)
    torch.testing.assert_close(raw.diagnostics["signed"][0, 0], expected, rtol=1e-4, atol=1e-6)


def test_leg_tv_of_a_constant_score_is_constant() -> None:
    explainer = build_explainer("leg_tv", grid_size=4, n_samples=5)

    assert np.ptp(explainer._estimate(np.zeros((4, 4)))) == 0.0

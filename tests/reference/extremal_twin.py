"""Extremal perturbations written as loops: float64, one image, one area."""

import math

import torch
from igos_pp_twin import phi, upsample


def dilate(cells, sigma):
    """Return ``smax_v k(u - v) * c(v)`` over a square window, 0 outside the grid."""
    h, w = cells.shape
    reach = math.ceil(2.5 * sigma)
    rows = []
    for y in range(h):
        row = []
        for x in range(w):
            values = []
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    k = math.exp(-(dy**2 + dx**2) / (2 * sigma**2))
                    inside = 0 <= y + dy < h and 0 <= x + dx < w
                    values.append(k * cells[y + dy, x + dx] if inside else 0 * cells[0, 0])
            weights = [torch.exp(value / 0.05) for value in values]
            total = sum(weight * value for weight, value in zip(weights, values, strict=True))
            row.append(total / sum(weights))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def off_area(mask, area):
    """Return ``mean |sort(m) - r_a|**2``; cells of equal value share their ranks' mean."""
    values = mask.flatten().unbind()
    steps = [round(float(v.detach()) / 1e-5) for v in values]
    ranks = sorted(steps)
    n_kept = round(area * len(values))
    wanted = [0.0] * (len(values) - n_kept) + [1.0] * n_kept
    total = 0.0
    for value, step in zip(values, steps, strict=True):
        equal = [r for rank, r in zip(ranks, wanted, strict=True) if rank == step]
        total = total + (value - sum(equal) / len(equal)) ** 2
    return total / len(values)


def search(f, image, baseline, *, area, grid, n_iterations, step_size, sigma, area_weight, unit):
    """Return the mask of one area."""
    height, width = image.shape
    cells = torch.full((grid, grid), 0.5, dtype=torch.float64)
    moment, square = torch.zeros_like(cells), 0.0
    for k in range(1, n_iterations + 1):
        leaf = cells.clone().requires_grad_()
        mask = dilate(leaf, sigma * grid)
        kept = f(phi(image, baseline, upsample(mask, height, width)))
        price = area_weight * (k - 1) / (n_iterations - 1)
        (g,) = torch.autograd.grad(price * off_area(mask, area) - kept / unit, leaf)
        moment = 0.9 * moment + 0.1 * g
        square = 0.999 * square + 0.001 * float((g * g).mean())
        step = (moment / (1 - 0.9**k)) / (square / (1 - 0.999**k)) ** 0.5
        cells = (cells - step_size * step).clamp(0, 1)
    return dilate(cells, sigma * grid)

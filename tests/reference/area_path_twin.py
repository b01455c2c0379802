"""The area path written as loops: float64, one image."""

import torch
from igos_pp_twin import phi, upsample


def start(f, image, baseline, grid, n_start):
    """Mean over the path's midpoints t of the gradient of f(Phi(t * M)) at M = 1."""
    height, width = image.shape
    total = torch.zeros(grid, grid, dtype=torch.float64)
    for k in range(n_start):
        mask = torch.ones(grid, grid, dtype=torch.float64).requires_grad_()
        t = (k + 0.5) / n_start
        value = f(phi(image, baseline, upsample(t * mask, height, width)))
        total = total + torch.autograd.grad(value, mask)[0] / n_start
    return total


def loss(f, image, baseline, cells, area, spread, softness, tv_weight):
    """One area: its deletion score minus its insertion score, plus the price of the map."""
    height, width = image.shape
    h, w = cells.shape
    border = torch.quantile(cells.detach().flatten(), 1 - area)
    keep = torch.stack(
        [
            torch.stack(
                [1 / (1 + torch.exp((cells[y, x] - border) / (softness * spread)))
                 for x in range(w)]
            )
            for y in range(h)
        ]
    )  # fmt: skip
    value = f(phi(image, baseline, upsample(keep, height, width)))
    value = value - f(phi(image, baseline, 1 - upsample(keep, height, width)))
    scaled = cells / spread
    vertical = sum(
        (scaled[y + 1, x] - scaled[y, x]) ** 2 for y in range(h - 1) for x in range(w)
    ) / ((h - 1) * w)
    horizontal = sum(
        (scaled[y, x + 1] - scaled[y, x]) ** 2 for y in range(h) for x in range(w - 1)
    ) / (h * (w - 1))
    return value + tv_weight * (vertical + horizontal)


def explain(f, image, baseline, *, grid, n_start, n_iterations, step_size, softness, tv_weight,
            unit):  # fmt: skip
    """Return the keep mask."""
    cells = start(f, image, baseline, grid, n_start)
    cells = cells / cells.std(correction=0)
    moment, square = torch.zeros_like(cells), 0.0
    for k in range(1, n_iterations + 1):
        area = (0.5 + k * (5**0.5 - 1) / 2) % 1
        spread = cells.std(correction=0)
        leaf = cells.clone().requires_grad_()
        value = loss(f, image, baseline, leaf, area, spread, softness, tv_weight)
        (g,) = torch.autograd.grad(value, leaf)
        moment = 0.9 * moment + 0.1 * g
        square = 0.999 * square + 0.001 * float((g * g).mean())
        step = (moment / (1 - 0.9**k)) / (square / (1 - 0.999**k)) ** 0.5
        cells = cells - step_size * step
    return choose_mask(f, image, baseline, cells, unit)


def choose_mask(f, image, baseline, cells, unit):
    """Of the masks of three areas and none: least deletion less insertion score plus price."""
    height, width = image.shape
    best = torch.ones_like(cells)
    with torch.no_grad():
        least = float(f(image) - f(baseline))
        for area in (0.02, 0.05, 0.12):
            border = torch.quantile(cells.flatten(), 1 - area)
            beyond = (cells - border) / (0.1 * cells.std(correction=0))
            keep = 1 - (1 + beyond / (1 + beyond**2) ** 0.5) / 2
            value = f(phi(image, baseline, upsample(keep, height, width)))
            value = value - f(phi(image, baseline, 1 - upsample(keep, height, width)))
            value = float(value) + unit * float((1 - keep).mean())
            if value < least:
                best, least = keep, value
    return best

"""What several twins need, written again from the papers: paths, steps, the blur, LEG's draws.

Loops and tables in float64, nothing shared with the library.
"""

import math

import torch

# Legendre's nodes and weights on [-1, 1], from the tables.
GAUSS_LEGENDRE = {
    1: ([0.0], [2.0]),
    2: ([-1 / math.sqrt(3), 1 / math.sqrt(3)], [1.0, 1.0]),
    3: ([-math.sqrt(3 / 5), 0.0, math.sqrt(3 / 5)], [5 / 9, 8 / 9, 5 / 9]),
}
ADAM_STEP = 0.1  # of a mask that is coarser than the image


def walk_path(quadrature, n_steps):
    """Return the points of the straight path to the mask and their weights."""
    if quadrature == "riemann":
        return [s / n_steps for s in range(1, n_steps + 1)], [1 / n_steps] * n_steps
    if quadrature == "end":
        return [1.0], [1.0]
    nodes, weights = GAUSS_LEGENDRE[n_steps]
    return [0.5 + 0.5 * x for x in nodes], [0.5 * w for w in weights]


def walk_rotating_path(start, n_steps, iteration):
    """Return the points of one iteration: one in each of ``n_steps`` equal parts."""
    golden = (math.sqrt(5) - 1) / 2
    shift = math.modf(start + iteration * golden)[0]
    return [(part + shift) / n_steps for part in range(n_steps)], [1 / n_steps] * n_steps


def reflect(i, n):
    while not 0 <= i < n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


def blur(images):
    """Blur ``(N, 1, H, W)`` below 500 pixels: 51 taps, sigma 50, borders reflected."""
    taps = [math.exp(-(k**2) / (2 * 50**2)) for k in range(-25, 26)]
    total = sum(taps)
    blurred = images.double()
    for axis in (-1, -2):
        n = blurred.shape[axis]
        lines = blurred.unbind(axis)
        blurred = torch.stack(
            [
                sum(tap / total * lines[reflect(i + k, n)] for k, tap in enumerate(taps, start=-25))
                for i in range(n)
            ],
            dim=axis,
        )
    return blurred.to(images.dtype)


def draw_leg_perturbations(side, n, variance, generator):
    """Draw ``z = sqrt(s2) * (D^T e + 1 * e0 / side)`` edge by edge.

    Its covariance is ``s2 * (D^T D + 11^T / p)``: ``e`` and ``e0`` are independent standard normal,
    one per pair of neighbours and one per film.
    """
    down = torch.randn(n, side - 1, side, generator=generator, dtype=torch.float64)
    right = torch.randn(n, side, side - 1, generator=generator, dtype=torch.float64)
    level = torch.randn(n, generator=generator, dtype=torch.float64)
    z = torch.zeros(n, side, side, dtype=torch.float64)
    for i in range(side):
        for j in range(side):
            z[:, i, j] += level / side
            if i + 1 < side:
                z[:, i + 1, j] += down[:, i, j]
                z[:, i, j] -= down[:, i, j]
            if j + 1 < side:
                z[:, i, j + 1] += right[:, i, j]
                z[:, i, j] -= right[:, i, j]
    return math.sqrt(variance) * z

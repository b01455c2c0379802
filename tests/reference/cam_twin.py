"""Grad-CAM++ and Score-CAM written as loops: float64, one image, features of rows and columns."""

import math

import torch


def enlarge(cells, height, width):
    """Interpolate bilinearly between the centres of cells, constant beyond the outer ones."""
    h, w = cells.shape
    result = torch.zeros(height, width, dtype=cells.dtype)
    for y in range(height):
        for x in range(width):
            down = min(max((y + 0.5) * h / height - 0.5, 0.0), h - 1.0)
            right = min(max((x + 0.5) * w / width - 0.5, 0.0), w - 1.0)
            top, left = math.floor(down), math.floor(right)
            below, beside = min(top + 1, h - 1), min(left + 1, w - 1)
            v, u = down - top, right - left
            result[y, x] = (1 - v) * ((1 - u) * cells[top, left] + u * cells[top, beside]) + v * (
                (1 - u) * cells[below, left] + u * cells[below, beside]
            )
    return result


def derivatives(score, features, place):
    """Return the first three derivatives of ``exp(score)`` with respect to one activation."""
    leaf = features[place].clone().requires_grad_()
    moved = features.clone()
    moved[place] = leaf
    value = torch.exp(score(moved))
    found = []
    for _ in range(3):
        (value,) = torch.autograd.grad(value, leaf, create_graph=True)
        found.append(float(value.detach()))
    return found


def grad_cam_pp(score, features, height, width):
    """Return the signed map of activations ``(C, h, w)`` behind a ReLU, without exp(score)."""
    n_channels, h, w = features.shape
    factor = math.exp(float(score(features).detach()))
    cells = torch.zeros(h, w, dtype=features.dtype)
    for c in range(n_channels):
        total = float(features[c].sum())
        weight = 0.0
        for i in range(h):
            for j in range(w):
                first, second, third = derivatives(score, features, (c, i, j))
                below = 2 * second + total * third
                alpha = second / below if below != 0 else 0.0
                weight += alpha * max(first, 0.0)
        cells += weight / factor * features[c]
    return enlarge(cells, height, width)


def score_cam(score, image, baseline, features):
    """Return the signed map; ``score`` is a function of films."""
    height, width = image.shape
    total = torch.zeros_like(image)
    for cells in features:
        large = enlarge(cells, height, width)
        low, high = float(large.min()), float(large.max())
        if high == low:
            continue
        mask = (large - low) / (high - low)
        total += float(score(image * mask + baseline * (1 - mask)) - score(baseline)) * large
    return total

"""I-GOS, iGOS+ and Mask written as loops from their papers: float64, one image."""

import torch
from igos_pp_twin import phi, price, upsample


def scores_along_path(f, image, baseline, noise, mask, nodes, weights, losses, on_film):
    """``on_film``: the noise is added to the film and not to what is perturbed."""
    height, width = image.shape
    total = 0.0
    for s, t in enumerate(nodes):
        keep = upsample(t * mask, height, width)
        film, extra = (image + noise[s], 0.0) if on_film else (image, noise[s])
        if losses in {"deletion", "both"}:
            total = total + weights[s] * f(phi(film, baseline, keep) + extra)
        if losses in {"insertion", "both"}:
            total = total - weights[s] * f(phi(film, baseline, 1 - keep) + extra)
    return total


def explain(f, image, baseline, noises, *, grid, nodes, weights, rule, losses, prices,
            step_size=0.1, unit=1.0, a_u=1000.0, a_l=1e-5, eta=0.2, b=1e-4, at_mask=False,
            on_film=False):  # fmt: skip
    """Return the keep mask after ``len(noises)`` iterations.

    ``at_mask``: the line search compares ``F`` at the masks themselves (the last path point).
    """
    mask = torch.ones(grid, grid, dtype=torch.float64)
    moment, square = torch.zeros_like(mask), torch.zeros_like(mask)

    def total_gradient(point, noise):
        leaf = point.detach().requires_grad_()
        value = scores_along_path(f, image, baseline, noise, leaf, nodes, weights, losses, on_film)
        value = value + price(leaf, image, **prices)
        (gradient,) = torch.autograd.grad(value, leaf)
        return gradient

    def objective(point, noise):
        with torch.no_grad():
            some, shares, draws = nodes, weights, noise
            if at_mask:
                some, shares, draws = nodes[-1:], [1.0], noise[-1:]
            data = scores_along_path(
                f, image, baseline, draws, point, some, shares, losses, on_film
            )
            return float(data + price(point, image, **prices))

    for k, noise in enumerate(noises, start=1):
        g = total_gradient(mask, noise)
        if rule == "adam":
            moment = 0.9 * moment + 0.1 * g
            square = 0.999 * square + 0.001 * g * g
            step = (moment / (1 - 0.9**k)) / ((square / (1 - 0.999**k)).sqrt() + 1e-8 * unit)
            mask = (mask - step_size * step).clamp(0, 1)
        elif rule == "fixed":
            mask = (mask - step_size * g).clamp(0, 1)
        else:
            a, before, norm = a_u, objective(mask, noise), float((g * g).sum())
            while True:
                trial = (mask - a * g).clamp(0, 1)
                if objective(trial, noise) - before <= -a * b * norm or a < a_l:
                    break
                a *= eta
            mask = trial
    return mask

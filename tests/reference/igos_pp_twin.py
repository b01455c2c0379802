"""iGOS++ written as loops from the paper: float64, one image, nothing shared with the library.

``f`` maps one image ``(H, W)`` to a number. Masks are lists of lists of the torch scalars' grid;
autograd supplies plain gradients only.
"""

import math

import torch


def upsample(grid, height, width):
    h, w = grid.shape
    rows = []
    for y in range(height):
        v = y * (h - 1) / (height - 1) if height > 1 else 0.0
        i = min(math.floor(v), max(h - 2, 0))
        a = v - i
        row = []
        for x in range(width):
            u = x * (w - 1) / (width - 1) if width > 1 else 0.0
            j = min(math.floor(u), max(w - 2, 0))
            b = u - j
            i2, j2 = min(i + 1, h - 1), min(j + 1, w - 1)
            row.append(
                (1 - a) * (1 - b) * grid[i, j]
                + (1 - a) * b * grid[i, j2]
                + a * (1 - b) * grid[i2, j]
                + a * b * grid[i2, j2]
            )
        rows.append(torch.stack(row))
    return torch.stack(rows)


def phi(image, baseline, keep):
    return image * keep + baseline * (1 - keep)


def price(mask, image, area_weight, tv_weight, sigma, smoothness):
    """g(M) = l1 * mean|1 - M| + l2 * (TV, BTV or their mean)."""
    h, w = mask.shape
    area = sum(1 - mask[i, j] for i in range(h) for j in range(w)) / (h * w)
    tv = sum((mask[i + 1, j] - mask[i, j]) ** 2 for i in range(h - 1) for j in range(w)) / (
        (h - 1) * w
    )
    tv = tv + sum((mask[i, j + 1] - mask[i, j]) ** 2 for i in range(h) for j in range(w - 1)) / (
        h * (w - 1)
    )
    height, width = image.shape
    up = upsample(mask, height, width)
    vertical, horizontal = 0.0, 0.0
    for y in range(height - 1):
        for x in range(width):
            edge = math.exp(-((float(image[y + 1, x]) - float(image[y, x])) ** 2) / sigma)
            vertical = vertical + edge * (up[y + 1, x] - up[y, x]) ** 2
    for y in range(height):
        for x in range(width - 1):
            edge = math.exp(-((float(image[y, x + 1]) - float(image[y, x])) ** 2) / sigma)
            horizontal = horizontal + edge * (up[y, x + 1] - up[y, x]) ** 2
    btv = vertical / ((height - 1) * width) + horizontal / (height * (width - 1))
    smooth = {"plain": tv, "bilateral": btv, "both": (tv + btv) / 2}[smoothness]
    return area_weight * area + tv_weight * smooth


def path_objective(f, image, baseline, noise, mx, my, nodes, weights, own=0.5, joint=0.5):
    """The four scores along the path; ``noise[s]`` is added to what is perturbed at point s.

    ``own`` weighs the scores of the single masks, ``joint`` those of the product.
    """
    height, width = image.shape
    total = 0.0
    for s, t in enumerate(nodes):
        mxy = mx * my
        value = 0.0
        if own:
            value = own * (
                f(phi(image, baseline, upsample(t * mx, height, width)) + noise[s])
                - f(phi(image, baseline, 1 - upsample(t * my, height, width)) + noise[s])
            )
        if joint:
            value = value + joint * (
                f(phi(image, baseline, upsample(t * mxy, height, width)) + noise[s])
                - f(phi(image, baseline, 1 - upsample(t * mxy, height, width)) + noise[s])
            )
        total = total + weights[s] * value
    return total


def start_of_sigmoids(f, image, baseline, grid, n_start, contrast):
    """Arguments of both masks: by the integrated gradients of the four scores at masks of ones.

    Each score's path is walked on its own: ``t * M`` for deletion, ``1 - t * M`` for insertion.
    """
    height, width = image.shape
    ones = torch.ones(grid, grid, dtype=torch.float64)
    slopes = [torch.zeros_like(ones), torch.zeros_like(ones)]
    for k in range(n_start):
        t = (k + 0.5) / n_start
        mx, my = ones.clone().requires_grad_(), ones.clone().requires_grad_()
        value = 0.5 * (
            f(phi(image, baseline, upsample(t * mx, height, width)))
            - f(phi(image, baseline, 1 - upsample(t * my, height, width)))
            + f(phi(image, baseline, upsample(t * mx * my, height, width)))
            - f(phi(image, baseline, 1 - upsample(t * mx * my, height, width)))
        )
        for i, g in enumerate(torch.autograd.grad(value, (mx, my))):
            slopes[i] = slopes[i] + g / n_start
    return [-contrast * s / s.std(correction=0) for s in slopes]


def explain_by_sigmoids(f, image, baseline, *, start, nodes, prices, step_size, unit=1.0):
    """Return ``Mx * My`` of sigmoids moved by Adam with one scale a mask, one point a step.

    Odd steps take the single masks' scores at twice the weight, even ones the product's.
    """
    cells = list(start)
    moment = [torch.zeros_like(c) for c in cells]
    square = [0.0, 0.0]
    for k, t in enumerate(nodes, start=1):
        tx, ty = (c.clone().requires_grad_() for c in cells)
        mx, my = 1 / (1 + torch.exp(-tx)), 1 / (1 + torch.exp(-ty))
        own, joint = (1.0, 0.0) if k % 2 else (0.0, 1.0)
        value = path_objective(f, image, baseline, [0.0], mx, my, [t], [1.0], own, joint)
        value = value + price(mx * my, image, **prices)
        for i, g in enumerate(torch.autograd.grad(value, (tx, ty))):
            moment[i] = 0.9 * moment[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * float((g * g).mean())
            spread = (square[i] / (1 - 0.999**k)) ** 0.5 + 1e-8 * unit
            cells[i] = cells[i] - step_size * moment[i] / (1 - 0.9**k) / spread
    return 1 / ((1 + torch.exp(-cells[0])) * (1 + torch.exp(-cells[1])))


def explain(f, image, baseline, noises, *, grid, nodes, weights, rule, prices, alternate=False,
            step_size=0.1, unit=1.0, a_u=1000.0, a_l=1e-5, eta=0.2, b=1e-4):  # fmt: skip
    """Return ``Mx * My`` after ``len(noises)`` iterations of one rule.

    ``nodes``: the path points, or one list of them per iteration. ``alternate``: odd
    iterations take the single masks' scores alone, even ones the product's, at twice the weight.
    """
    mx = torch.ones(grid, grid, dtype=torch.float64)
    my = torch.ones(grid, grid, dtype=torch.float64)
    moment = [torch.zeros_like(mx), torch.zeros_like(my)]
    square = [torch.zeros_like(mx), torch.zeros_like(my)]

    def objective(mx, my, noise):
        points = nodes[k - 1] if isinstance(nodes[0], list) else nodes
        own, joint = ((1.0, 0.0) if k % 2 else (0.0, 1.0)) if alternate else (0.5, 0.5)
        data = path_objective(f, image, baseline, noise, mx, my, points, weights, own, joint)
        return data + price(mx * my, image, **prices)

    for k, noise in enumerate(noises, start=1):
        mx, my = mx.detach().requires_grad_(), my.detach().requires_grad_()
        before = objective(mx, my, noise)
        gx, gy = torch.autograd.grad(before, (mx, my))
        mx, my, before = mx.detach(), my.detach(), before.detach()
        if rule == "adam":
            moved = []
            for i, (mask, g) in enumerate(((mx, gx), (my, gy))):
                moment[i] = 0.9 * moment[i] + 0.1 * g
                square[i] = 0.999 * square[i] + 0.001 * g * g
                step = (moment[i] / (1 - 0.9**k)) / (
                    (square[i] / (1 - 0.999**k)).sqrt() + 1e-8 * unit
                )
                moved.append((mask - step_size * step).clamp(0, 1))
            mx, my = moved
        else:
            a = a_u
            norm = float((gx * gx).sum() + (gy * gy).sum())
            while True:
                tx, ty = (mx - a * gx).clamp(0, 1), (my - a * gy).clamp(0, 1)
                with torch.no_grad():
                    after = objective(tx, ty, noise)
                if float(after) - float(before) <= -a * b * norm or a < a_l:
                    break
                a *= eta
            mx, my = tx, ty
    return (mx * my).detach()

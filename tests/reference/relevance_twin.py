"""Layer-wise relevance propagation written as loops over units and their connections: float64.

A layer is a list with, for each unit, its connections ``(input, weight)`` and its bias. Relevance
``R_k`` of a unit goes to its inputs ``j`` by the equations of the papers.
"""


def connect_convolution(weight, bias, height, width):
    """Connections of a convolution of stride 1 with a border of zeros, units in raster order."""
    n_out, n_in, size = len(weight), len(weight[0]), len(weight[0][0])
    units, reach = [], size // 2
    for c_out in range(n_out):
        for row in range(height):
            for column in range(width):
                connections = []
                for c_in in range(n_in):
                    for dy in range(size):
                        for dx in range(size):
                            y, x = row + dy - reach, column + dx - reach
                            if 0 <= y < height and 0 <= x < width:
                                j = (c_in * height + y) * width + x
                                connections.append((j, weight[c_out][c_in][dy][dx]))
                units.append((connections, bias[c_out]))
    return units


def connect_means(n_channels, n_pixels):
    """Connections of a mean over the pixels of each channel."""
    return [
        ([(c * n_pixels + p, 1 / n_pixels) for p in range(n_pixels)], 0.0)
        for c in range(n_channels)
    ]


def connect_dense(weight, bias):
    return [(list(enumerate(row)), b) for row, b in zip(weight, bias, strict=True)]


def connect_sum(n):
    """Connections of a residual sum: its inputs are the first terms, then the second terms."""
    return [([(i, 1.0), (n + i, 1.0)], 0.0) for i in range(n)]


def fold(weight, bias, scale, shift):
    """Weights and biases of a convolution with a batch norm ``scale * z + shift`` behind it."""
    weight = [
        [[[s * w for w in row] for row in plane] for plane in unit]
        for unit, s in zip(weight, scale, strict=True)
    ]
    return weight, [s * b + t for b, s, t in zip(bias, scale, shift, strict=True)]


def forward(layer, a):
    return [sum(a[j] * w for j, w in connections) + bias for connections, bias in layer]


def share(rule, connections, bias, a, low, high, z):
    """Return each connection's share of the unit's relevance."""
    parts = [a[j] * w for j, w in connections]
    up = sum(p for p in [*parts, bias] if p > 0)
    down = sum(p for p in [*parts, bias] if p < 0)
    if rule == "epsilon":  # Bach et al. (58)
        return [p / (up + down) for p in parts]
    if rule == "plus":  # (60) with alpha 1, beta 0
        return [max(p, 0) / up for p in parts] if up else [min(p, 0) / down for p in parts]
    if rule == "alpha2_beta1":  # (60)
        alpha, beta = (2, 1) if up and down else (1, 0) if up else (0, -1)
        return [
            alpha * (max(p, 0) / up if up else 0) - beta * (min(p, 0) / down if down else 0)
            for p in parts
        ]
    if rule == "gamma":  # Montavon et al. 2019, by the output's sign
        favoured = [p + 0.25 * (max(p, 0) if z >= 0 else min(p, 0)) for p in [*parts, bias]]
        return [p / sum(favoured) for p in favoured[:-1]]
    if rule == "box":  # Montavon et al. 2017
        inside = [a[j] * w - low[j] * max(w, 0) - high[j] * min(w, 0) for j, w in connections]
        return [p / sum(inside) for p in inside]
    if rule == "excitation":  # Zhang et al. (2), no bias
        won = [max(p, 0) if z >= 0 else min(p, 0) for p in parts]
    elif rule == "excitation_above_low":
        above = [(a[j] - low[j]) * w for j, w in connections]
        won = [max(p, 0) if z >= 0 else min(p, 0) for p in above]
    elif rule == "for":
        won = [max(p, 0) for p in parts]
    else:  # "against"
        won = [min(p, 0) for p in parts]
    return [p / sum(won) if sum(won) else 0.0 for p in won]


def backward(rule, layer, a, relevance, low=None, high=None):
    """Return the relevance of the layer's inputs."""
    result = [0.0] * len(a)
    for (connections, bias), z, r in zip(layer, forward(layer, a), relevance, strict=True):
        if r == 0:
            continue
        shares = share(rule, connections, bias, a, low, high, z)
        for (j, _), part in zip(connections, shares, strict=True):
            result[j] += part * r
    return result


def explain(layers, pixels, low, high, target, rules, top, begin):
    """Return relevance of pixels for conv, ReLU, conv, plus skip, ReLU, means, dense.

    ``rules``: of the first convolution, of what follows; ``top``: of the dense layer; ``begin``:
    relevance of the target's logit, or None for the logit itself.
    """
    first, second, means, dense = layers
    inner = rules[1]
    a1 = [max(z, 0) for z in forward(first, pixels)]
    branch = forward(second, a1)
    both = branch + a1
    residual = connect_sum(len(a1))
    a2 = [max(z, 0) for z in forward(residual, both)]
    a3 = forward(means, a2)
    logit = forward(dense, a3)[target]
    r = backward(top, [dense[target]], a3, [logit if begin is None else begin])
    r = backward(inner, means, a2, r)
    r = backward(inner, residual, both, r)
    r_branch, r_skip = r[: len(branch)], r[len(branch) :]
    r_branch = backward(inner, second, a1, r_branch)
    r = [x + y for x, y in zip(r_branch, r_skip, strict=True)]
    return backward(rules[0], first, pixels, r, low, high)

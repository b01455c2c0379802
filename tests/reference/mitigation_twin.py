"""Countermeasures written once more from the papers, with plain loops and without torch."""

import math


def group_dro_twin(batches, n_groups, step):
    """Algorithm 1 of Sagawa et al. 2020; a batch is a list of (loss, group).

    Returns:
        What is minimised on each batch, and the weights after the last.
    """
    q = [1 / n_groups] * n_groups
    minimised = []
    for batch in batches:
        means = []
        for group in range(n_groups):
            own = [loss for loss, its_group in batch if its_group == group]
            means.append(sum(own) / len(own) if own else 0.0)
        for group in range(n_groups):
            q[group] *= math.exp(step * means[group])
        total = sum(q)
        q = [weight / total for weight in q]
        minimised.append(sum(weight * mean for weight, mean in zip(q, means, strict=True)))
    return minimised, q


def distance_correlation_twin(points, sources):
    """Bias-corrected squared distance correlation, Székely and Rizzo 2013 (their U-centring)."""
    n = len(points)
    a = [[math.dist(points[i], points[j]) for j in range(n)] for i in range(n)]
    b = [[float(sources[i] != sources[j]) for j in range(n)] for i in range(n)]

    def centre(d):
        centred = [[0.0] * n for _ in range(n)]
        for i in range(n):
            for j in range(n):
                if i == j:
                    continue
                row = sum(d[i][k] for k in range(n)) / (n - 2)
                column = sum(d[k][j] for k in range(n)) / (n - 2)
                both = sum(sum(line) for line in d) / ((n - 1) * (n - 2))
                centred[i][j] = d[i][j] - row - column + both
        return centred

    def product(x, y):
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        return sum(x[i][j] * y[i][j] for i, j in pairs) / (n * (n - 3))

    one, two = centre(a), centre(b)
    return product(one, two) / math.sqrt(product(one, one) * product(two, two))


def wrong_reasons_twin(log_probability_sum, images, masks, width=1e-5):
    """Second term of Equation 1 of Ross et al. 2017 by central differences, a mean over films.

    Args:
        log_probability_sum: Of a film, a flat list of intensities: the sum over classes of the
            log-probabilities.
        images: Flat lists of intensities.
        masks: Flat lists of 0 and 1.
        width: Half of the step.

    Returns:
        The penalty.
    """
    total = 0.0
    for image, mask in zip(images, masks, strict=True):
        for place, inside in enumerate(mask):
            more, less = list(image), list(image)
            more[place] += width
            less[place] -= width
            slope = (log_probability_sum(more) - log_probability_sum(less)) / (2 * width)
            total += (inside * slope) ** 2
    return total / len(images)

"""The published iGOS++, written plainly: the yardstick of the saliency benchmark.

One image at a time, one score after the other, a line search that starts anew in every iteration
and evaluates both of its sides, as the published procedure does. It shares no code with
:mod:`covid_debug.saliency`, and nothing here is meant to be fast or to be used for anything else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from covid_debug.models.classifier import Classifier

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class PublishedConstants:
    """Constants of the paper, intensities in [0, 1].

    Attributes:
        n_steps: Path points ``S``.
        n_iterations: Mask updates.
        tv_weight: ``l2``.
        tv_power: ``b`` of both smoothness terms, which are averaged (supplement C).
        edge_sigma: Of the bilateral term; 0.01 of ImageNet-normalised images.
        noise_std: 0.2 of ImageNet-normalised images.
        max_step: ``a_u``.
        min_step: ``a_l``.
        backtrack_factor: ``eta``.
        armijo_slope: ``b`` of the sufficient decrease.
    """

    n_steps: int = 20
    n_iterations: int = 15
    tv_weight: float = 20.0
    tv_power: float = 2.0
    edge_sigma: float = 5e-4
    noise_std: float = 0.045
    max_step: float = 1000.0
    min_step: float = 1e-5
    backtrack_factor: float = 0.2
    armijo_slope: float = 1e-4


def explain_plainly(
    classifier: Classifier,
    image: Tensor,
    baseline: Tensor,
    target: int,
    *,
    grid_size: int,
    noise_std: float,
    generator: torch.Generator,
    constants: PublishedConstants | None = None,
) -> tuple[Tensor, int]:
    """Explain one film by the published algorithm.

    Args:
        classifier: In evaluation mode, parameters frozen.
        image: Canonical film ``(1, 1, H, W)``.
        baseline: What replaces removed pixels, same shape.
        target: Class index.
        grid_size: Cells of the masks in both directions.
        noise_std: Noise added to the perturbed image at each path point.
        generator: Source of the noise.
        constants: The paper's where None.

    Returns:
        Saliency ``1 - Mx * My`` at image size, ``(1, 1, H, W)``, larger = more evidence, and the
        number of images passed through the classifier.
    """
    c = constants or PublishedConstants()
    size = (image.shape[-2], image.shape[-1])
    area_weight = 10.0 if (grid_size, grid_size) == size else 1.0
    n_evaluations = 0

    def upsample(mask: Tensor) -> Tensor:
        return interpolate(mask, size=size, mode="bilinear", align_corners=True)

    def score(perturbed: Tensor) -> Tensor:
        nonlocal n_evaluations
        n_evaluations += len(perturbed)
        probability: Tensor = classifier(perturbed).softmax(dim=1)[:, target]
        return probability

    fractions = torch.arange(1, c.n_steps + 1, device=image.device).view(-1, 1, 1, 1) / c.n_steps

    def along_path(mask: Tensor, noise: Tensor, *, insertion: bool) -> Tensor:
        """Return the sum of scores over the path points of one mask."""
        keep = upsample(fractions * mask)
        keep = 1 - keep if insertion else keep
        return score(image * keep + baseline * (1 - keep) + noise).sum()

    def price(mask: Tensor) -> Tensor:
        area = (1 - mask).mean()  # |1 - M|_1 on [0, 1]
        full = upsample(mask)
        plain, bilateral = torch.zeros_like(area), torch.zeros_like(area)
        for axis in (-2, -1):
            plain = plain + (mask.diff(dim=axis).abs() ** c.tv_power).mean()
            discount = torch.exp(-(image.diff(dim=axis) ** 2) / c.edge_sigma)
            bilateral = bilateral + (discount * full.diff(dim=axis).abs() ** c.tv_power).mean()
        return area_weight * area + c.tv_weight * (plain + bilateral) / 2

    def objective(mx: Tensor, my: Tensor, noise: Tensor) -> Tensor:
        data = (
            along_path(mx, noise, insertion=False)
            - along_path(my, noise, insertion=True)
            + along_path(mx * my, noise, insertion=False)
            - along_path(mx * my, noise, insertion=True)
        )
        return data / (2 * c.n_steps) + price(mx * my)

    mx = torch.ones(1, 1, grid_size, grid_size, device=image.device)
    my = torch.ones_like(mx)
    for _ in range(c.n_iterations):
        shape = (c.n_steps, *image.shape[1:])
        noise = noise_std * torch.randn(shape, generator=generator, device=image.device)
        with torch.enable_grad():
            mx.requires_grad_()
            my.requires_grad_()
            gx, gy = torch.autograd.grad(objective(mx, my, noise), (mx, my))
        mx, my = mx.detach(), my.detach()
        with torch.no_grad():
            before = objective(mx, my, noise)
            squared = (gx**2).sum() + (gy**2).sum()
            step = c.max_step
            while True:
                tx, ty = (mx - step * gx).clamp(0, 1), (my - step * gy).clamp(0, 1)
                decrease = objective(tx, ty, noise) - before
                enough = bool(decrease <= -step * c.armijo_slope * squared)
                if enough or step < c.min_step:
                    break
                step *= c.backtrack_factor
            mx, my = tx, ty
    return 1 - upsample(mx * my), n_evaluations

"""The perturbation: image, baseline and keep mask become one perturbed image.

The polarity of masks is defined here and nowhere else; where masks come from is not known here.
"""

from torch import Tensor

from covid_debug.shapes import Images


def compose(images: Images, baseline: Images, keep_mask: Images) -> Tensor:
    """Mix images with their baseline, pixel by pixel.

    Implements ``Phi(I, B, M) = I * M + B * (1 - M)``.

    Args:
        images: Canonical images ``I``.
        baseline: What replaces removed pixels ``B``, in the same space.
        keep_mask: ``M`` at image size; 1 keeps the original pixel, 0 shows the baseline.

    Returns:
        Perturbed images; exactly ``images`` where the mask is 1, ``baseline`` where it is 0.
    """
    perturbed: Tensor = images * keep_mask + baseline * (1 - keep_mask)
    return perturbed

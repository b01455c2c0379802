"""How many images go through a classifier at once on its device.

Owns that number alone; who asks for less, e.g. to show progress, divides it.
"""

from collections.abc import Callable

import torch

from covid_debug.models.classifier import Classifier, evaluating

CPU_IMAGES = 64
"""On a processor more images at once save nothing, and cost memory."""
IMAGES_A_FILM = 8
"""Images that one explained film brings to a model call, at most where many films are explained."""
MOST_IMAGES = 1024
_SHARE = 0.5
"""Of the free memory: the rest is for what is held beside the model's call, and for others."""
_FEW, _MORE = 1, 4


def find_max_batch(classifier: Classifier) -> int:
    """Return how many images fit into one model call with its gradient.

    Args:
        classifier: In any mode; left as it is.

    Returns:
        :data:`CPU_IMAGES` on a processor. On a GPU a power of two, from the memory that is free now
        and what one image takes, measured on black images; at most :data:`MOST_IMAGES`.
    """
    device = classifier.device
    if device.type != "cuda":
        return CPU_IMAGES
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return fit_images(lambda n_images: _measure_peak(classifier, n_images), free + unused)


def fit_images(measure: Callable[[int], int], n_free_bytes: int) -> int:
    """Return how many images fit, as a power of two of at least 1.

    Args:
        measure: Most bytes that a call with so many images takes.
        n_free_bytes: Memory that may be taken.
    """
    few = measure(_FEW)
    try:
        more = measure(_MORE)
    except torch.OutOfMemoryError:
        return _FEW
    each = max(1, (more - few) // (_MORE - _FEW))
    n_images = int(_SHARE * n_free_bytes) // each
    return 1 << min(max(1, n_images), MOST_IMAGES).bit_length() - 1


def _measure_peak(classifier: Classifier, n_images: int) -> int:
    device = classifier.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with evaluating(classifier), torch.inference_mode(mode=False), torch.enable_grad():
        images = torch.zeros(n_images, 1, *classifier.image_size, device=device)
        logits = classifier(images.requires_grad_())
        torch.autograd.grad(logits.sum(), images)
    return torch.cuda.max_memory_allocated(device) - before

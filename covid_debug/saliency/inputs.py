"""What every explainer demands of its inputs, and that the model comes back as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier, evaluating
from covid_debug.models.fast_copy import HOOK_TABLES


def require_inputs(
    name: str,
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    seeds: Sequence[int],
    *,
    baseline: Tensor | None,
    max_batch: int | None,
) -> None:
    """Refuse what no method can explain; the arguments are those of ``Explainer.explain``.

    Raises:
        InputContractError: If an input violates the contract; the message names the first bad
            image.
        TypeError: If the model is no :class:`Classifier`.
    """
    if not isinstance(classifier, Classifier):
        raise TypeError(
            f"{name}: classifier is a {type(classifier).__name__}; expected a Classifier;"
            " wrap your network in covid_debug.models.classifier.Classifier"
        )
    require_canonical(name, "images", images, classifier)
    require_targets(name, targets, images, classifier)
    if baseline is not None:
        require_baseline(name, baseline, images, classifier)
    require_run(name, len(seeds), len(images), max_batch)


def require_canonical(name: str, argument: str, images: Tensor, classifier: Classifier) -> None:
    """Refuse images that are not canonical; ``argument`` is what they are called."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise InputContractError(
            f"{name}: {argument} are {found}; expected a float32 tensor in [0, 1];"
            " divide uint8 views by 255"
        )
    expected = (1, *classifier.image_size)
    if images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise InputContractError(
            f"{name}: {argument} have shape {tuple(images.shape)}; expected (N, 1,"
            f" {expected[1]}, {expected[2]}) with N >= 1, the classifier's image_size"
        )
    if images.dtype != torch.float32:
        raise InputContractError(f"{name}: {argument} are {images.dtype}; expected torch.float32")
    if images.device != classifier.device:
        raise InputContractError(
            f"{name}: {argument} are on {images.device}, the classifier on {classifier.device};"
            " move one of them"
        )
    flat = images.detach().flatten(1)
    bad = (~flat.isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        raise InputContractError(
            f"{name}: {argument} must be finite, image {bad[0]} holds NaN or infinity"
            f" ({len(bad)} of {len(images)} images)"
        )
    low, high = flat.amin(1), flat.amax(1)
    bad = ((low < 0) | (high > 1)).nonzero().flatten().tolist()
    if bad:
        raise InputContractError(
            f"{name}: {argument} must be in [0, 1], image {bad[0]} spans"
            f" [{float(low[bad[0]]):.2f}, {float(high[bad[0]]):.2f}]; pass canonical images,"
            " normalisation happens inside Classifier"
        )


def require_baseline(name: str, baseline: Tensor, images: Tensor, classifier: Classifier) -> None:
    """Refuse a baseline that is not canonical or not one image for each."""
    require_canonical(name, "baseline", baseline, classifier)
    if baseline.shape != images.shape:
        raise InputContractError(
            f"{name}: baseline has shape {tuple(baseline.shape)}; expected the images'"
            f" {tuple(images.shape)}"
        )


def require_run(name: str, n_seeds: int, n_images: int, max_batch: int | None) -> None:
    """Refuse another number of seeds than of images, and batches of nothing."""
    if n_seeds != n_images:
        raise InputContractError(
            f"{name}: {n_seeds} seeds for {n_images} images; expected one per image"
        )
    if max_batch is not None and max_batch < 1:
        raise InputContractError(f"{name}: max_batch is {max_batch}; expected >= 1")


def require_targets(name: str, targets: Tensor, images: Tensor, classifier: Classifier) -> None:
    """Refuse targets that are not one class index per image."""
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        found = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise InputContractError(f"{name}: targets are {found}; expected an int64 tensor (N,)")
    if targets.shape != (len(images),) or targets.device != images.device:
        raise InputContractError(
            f"{name}: targets have shape {tuple(targets.shape)} on {targets.device}; expected"
            f" ({len(images)},) on {images.device}, one class index per image"
        )
    n_classes = classifier.n_classes
    bad = ((targets < 0) | (targets >= n_classes)).nonzero().flatten().tolist()
    if bad:
        raise InputContractError(
            f"{name}: target of image {bad[0]} is {int(targets[bad[0]])}; expected an index in"
            f" [0, {n_classes}) ({', '.join(classifier.class_names)})"
        )


@contextmanager
def preserved(classifier: Classifier) -> Iterator[None]:
    """Freeze the model in evaluation mode and put back everything an explainer may disturb."""
    with evaluating(classifier), _frozen(classifier):  # in this order: threads take turns
        yield


@contextmanager
def single_precision(images: Tensor) -> Iterator[torch.dtype | None]:
    """Switch the caller's automatic mixed precision off.

    Only the model is to run in lower precision: masks, sums over samples and prices are not.

    Args:
        images: On the device of which the precision is meant.

    Yields:
        The lower precision that the caller asked for, or None.
    """
    device = images.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    with torch.autocast(device, enabled=False):
        yield dtype


@contextmanager
def _frozen(classifier: Classifier) -> Iterator[None]:
    modules = [
        (module, {table: dict(getattr(module, table)) for table in HOOK_TABLES})
        for module in classifier.modules()
    ]
    parameters = [(p, p.requires_grad, p.grad) for p in classifier.parameters()]
    # A buffer is saved only where a method could write it; evaluation mode writes none.
    for parameter, _, _ in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, tables in modules:
            for table, hooks in tables.items():
                current = getattr(module, table)
                for key in [key for key in current if key not in hooks]:
                    del current[key]
                current.update(hooks)
        for parameter, required, gradient in parameters:
            parameter.requires_grad_(required)
            parameter.grad = gradient

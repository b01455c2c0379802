"""How one number is read from a model, with or without its gradient.

The only code that calls a classifier on behalf of explainers and faithfulness curves; it does not
know how the perturbed images are made.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.shapes import Targets

OutputScale = Literal["logit", "probability", "log_probability"]
MakeChunk = Callable[[slice], tuple[Tensor, Tensor]]


class TargetScore:
    """Score perturbed images by the output of the class that their image is explained for.

    Each score depends on its own perturbed image alone, because the classifier must be in
    evaluation mode (no batch statistics); results therefore do not depend on ``max_batch`` beyond
    floating-point rounding. Larger scores mean more evidence for the target class.

    Attributes:
        classifier: What is called, in evaluation mode.
        targets: Class index of each explained image, ``(N,)``.
        scale: What is read: the raw logit, the probability in [0, 1], or its logarithm.
        max_batch: Most images in one model call; halved where a GPU's memory is not enough.
        autocast: Lower precision in which the model runs; None: as the caller has it.
        n_evaluations: Images passed forward so far.
    """

    def __init__(
        self,
        classifier: Classifier,
        targets: Targets,
        *,
        scale: OutputScale = "probability",
        max_batch: int = 64,
        autocast: torch.dtype | None = None,
    ) -> None:
        """Bind a classifier to the classes to explain.

        Args:
            classifier: In evaluation mode.
            targets: Class index per image, on the classifier's device.
            scale: What is read from the model.
            max_batch: Most images in one model call; bounds memory.
            autocast: Precision for the model's automatic mixed precision, where the caller
                switched that off for everything else.

        Raises:
            InputContractError: If the classifier is in training mode, a target is not one of its
                classes, the scale is unknown, or ``max_batch < 1``.
        """
        if any(module.training for module in classifier.modules()):
            raise InputContractError(
                "models.scoring: the classifier is in training mode, where one image's score can"
                " depend on others; call classifier.eval() first"
            )
        if scale not in get_args(OutputScale):
            raise InputContractError(
                f"models.scoring: scale is {scale!r}; expected one of {get_args(OutputScale)}"
            )
        if max_batch < 1:
            raise InputContractError(f"models.scoring: max_batch is {max_batch}; expected >= 1")
        if targets.ndim != 1 or targets.dtype != torch.int64:
            raise InputContractError(
                f"models.scoring: targets are {targets.dtype} {tuple(targets.shape)};"
                " expected int64 (N,)"
            )
        wrong = ((targets < 0) | (targets >= classifier.n_classes)).nonzero().flatten().tolist()
        if wrong:
            raise InputContractError(
                f"models.scoring: target of image {wrong[0]} is {int(targets[wrong[0]])}; expected"
                f" an index in [0, {classifier.n_classes}) ({', '.join(classifier.class_names)})"
            )
        self.classifier = classifier
        self.targets = targets
        self.scale: OutputScale = scale
        self.max_batch = max_batch
        self.autocast = autocast
        self.n_evaluations = 0

    def __call__(
        self, perturbed: Float[Tensor, "M 1 H W"], image_index: Int64[Tensor, " M"]
    ) -> Float[Tensor, " M"]:
        """Score perturbed images, at most ``max_batch`` per model call.

        Chunking bounds memory only without autograd; with it, use :meth:`accumulate_gradient`.

        Args:
            perturbed: Canonical images in [0, 1].
            image_index: Which explained image (row of ``targets``) each one was made from.

        Returns:
            One score per perturbed image, on ``scale``, in the images' precision.

        Raises:
            InputContractError: If the two arguments differ in length.
        """
        self._check_lengths(perturbed, image_index, len(perturbed))
        if len(perturbed) == 0:
            return perturbed.new_empty(0)
        scores: list[Tensor] = []
        start = 0
        while start < len(perturbed):
            part = slice(start, start + self.max_batch)
            try:
                scores.append(self._score(perturbed[part], image_index[part]))
            except torch.OutOfMemoryError as error:
                self._halve(error)
            else:
                start = part.stop
        return torch.cat(scores)

    def accumulate_gradient(
        self,
        make_chunk: MakeChunk,
        n_items: int,
        wrt: Tensor,
        *,
        weights: Float[Tensor, " M"] | None = None,
    ) -> tuple[Float[Tensor, " M"], Tensor]:
        """Differentiate the weighted sum of scores, one chunk of perturbed images at a time.

        Computes ``d/d wrt sum_m weights[m] * score[m]``. Each chunk is built, passed forward,
        differentiated and freed before the next one is built, so memory is bounded by
        ``max_batch``. No ``.grad`` field is written.

        Args:
            make_chunk: Receives a slice of ``range(n_items)`` with at most ``max_batch`` items,
                returns ``(perturbed, image_index)`` for exactly these items; ``perturbed`` must be
                built from ``wrt`` inside the call, because its graph is freed afterwards.
            n_items: Total number of perturbed images ``M``.
            wrt: Tensor that requires a gradient.
            weights: Factor of each score; 1 where absent.

        Returns:
            The unweighted, detached scores ``(M,)`` and the gradient, shaped like ``wrt``.

        Raises:
            InputContractError: If ``wrt`` needs no gradient, a chunk has another number of items
                than its slice, or a chunk was not built from ``wrt``.
        """
        if not wrt.requires_grad:
            raise InputContractError(
                "models.scoring: wrt does not require a gradient; call wrt.requires_grad_() first"
            )
        gradient = torch.zeros_like(wrt, requires_grad=False)
        scores: list[Tensor] = []
        start = 0
        while start < n_items:
            items = slice(start, min(start + self.max_batch, n_items))
            try:
                chunk_scores, chunk_gradient = self._differentiate(make_chunk, items, wrt, weights)
            except torch.OutOfMemoryError as error:
                self._halve(error)
                continue
            gradient += chunk_gradient
            scores.append(chunk_scores)
            start = items.stop
        return torch.cat(scores) if scores else wrt.new_empty(0), gradient

    def _differentiate(
        self, make_chunk: MakeChunk, items: slice, wrt: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            perturbed, image_index = make_chunk(items)
            self._check_lengths(perturbed, image_index, items.stop - items.start)
            if not perturbed.requires_grad:
                raise InputContractError(
                    "models.scoring: make_chunk returned images that do not depend on wrt;"
                    " build them from wrt inside the call"
                )
            scores = self._score(perturbed, image_index)
            weighted = scores if weights is None else scores * weights[items]
            (gradient,) = torch.autograd.grad(weighted.sum(), wrt)
        return scores.detach(), gradient

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        """Ask for half as many images from now on.

        Raises:
            torch.OutOfMemoryError: If a single image is too much.
        """
        if self.max_batch == 1:
            raise error
        self.max_batch //= 2

    def _score(self, perturbed: Tensor, image_index: Tensor) -> Tensor:
        device = perturbed.device.type
        with nullcontext() if self.autocast is None else torch.autocast(device, self.autocast):
            logits = self.classifier(perturbed)
        self.n_evaluations += len(perturbed)
        if self.scale == "probability":
            outputs = self.classifier.to_probabilities(logits)
        elif self.scale == "log_probability":
            outputs = self.classifier.to_log_probabilities(logits)
        else:
            outputs = logits
        scores: Tensor = outputs.gather(1, self.targets[image_index][:, None]).squeeze(1)
        return scores.to(perturbed.dtype)

    @staticmethod
    def _check_lengths(perturbed: Tensor, image_index: Tensor, expected: int) -> None:
        if len(perturbed) != expected or image_index.shape != (expected,):
            raise InputContractError(
                f"models.scoring: {len(perturbed)} perturbed images and image_index of shape"
                f" {tuple(image_index.shape)}; expected {expected} of each"
            )

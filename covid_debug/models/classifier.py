"""The one border between canonical images and a network.

Owns normalisation, channel expansion and the check that a network returns logits; knows nothing of
architectures, files or scores.
"""

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.probing import find_probabilities, make_probes

_LABELS = (
    "for several labels a film, or one, return their logits (N, K) and pass multi_label=True"
    " (docs/how-to/explain-my-own-model.md)"
)
WITHOUT_GRADIENT = "use occlusion, rise, lime, kernel_shap, leg or leg_tv, which need none"
_LOCKS: WeakKeyDictionary[nn.Module, AbstractContextManager[bool]] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


class Classifier(nn.Module):
    """Wrap any network so that it maps canonical images to logits.

    Canonical images are gray, float, in [0, 1], shape ``(N, 1, H, W)``. The wrapper subtracts
    ``mean``, divides by ``std`` and repeats the gray plane ``channels`` times; the network then
    returns ``(N, K)`` logits of classes that exclude each other, or, with ``multi_label``, of
    labels of which a film has any number. Log-probabilities of classes are valid logits;
    probabilities are not, and are refused where they can be seen (:mod:`.probing`). Logits of
    labels cannot be told from logits of classes: without ``multi_label`` they are softmaxed.

    Attributes:
        module: The wrapped network.
        class_names: Class of each logit, in order.
        image_size: ``(H, W)`` in pixels.
        channels: Planes that the network sees.
        mean: Per-plane mean that is subtracted, in units of [0, 1] intensity.
        std: Per-plane divisor, in units of [0, 1] intensity.
        view: How its images are made of films; None where nobody said, then of whole films.
        multi_label: Whether each logit is a label of its own, whose probability is its sigmoid.
        has_gradient: Whether its outputs can be differentiated by the image; False for black
            boxes. Found by trying; True where that is not possible.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        class_names: Sequence[str],
        image_size: tuple[int, int],
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        channels: int = 1,
        view: ViewSpec | None = None,
        multi_label: bool = False,
    ) -> None:
        """Wrap and probe a network.

        Args:
            module: Maps ``(N, channels, H, W)`` to ``(N, K)`` logits.
            class_names: One name per logit, all different; at least two classes, or one label.
            image_size: ``(H, W)`` that the network expects.
            mean: One number, or one per channel.
            std: One number, or one per channel; > 0.
            channels: Planes that the network expects, normally 1 or 3.
            view: How the images that it was trained on are made of films.
            multi_label: Its logits are labels of their own, not classes that exclude each other.

        Raises:
            InputContractError: If an argument is out of range, the network does not return one
                logit per class, or it returns probabilities.
        """
        super().__init__()
        self.class_names = tuple(class_names)
        self.image_size, self.channels = _check_sizes(image_size, channels)
        self.view = view
        self.multi_label = multi_label
        least = 1 if multi_label else 2
        if len(self.class_names) < least or len(set(self.class_names)) != len(self.class_names):
            raise InputContractError(
                f"models.classifier: class_names are {self.class_names}; expected at least"
                f" {'one name, all' if multi_label else 'two'} different"
                f"{'' if multi_label else f' names; {_LABELS}'}"
            )
        self.mean = _per_channel("mean", mean, channels)
        self.std = _per_channel("std", std, channels)
        if min(self.std) <= 0:
            raise InputContractError(f"models.classifier: std is {self.std}; expected > 0")
        # Written in checkpoint.json, so that the weights file holds the network's state alone.
        tensors = [*module.parameters(), *module.buffers()]
        device = tensors[0].device if tensors else torch.get_default_device()
        for name, numbers in (("_mean", self.mean), ("_std", self.std)):
            plane = torch.tensor(numbers, dtype=torch.float32, device=device)
            self.register_buffer(name, plane.view(1, channels, 1, 1), persistent=False)
        self.module = module
        self.has_gradient = True
        self._refuse_probabilities()

    @property
    def n_classes(self) -> int:
        """Number of logits."""
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.get_buffer("_mean").device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's first weights; single precision where it has none."""
        tensors = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((x.dtype for x in tensors if x.is_floating_point()), torch.float32)

    def normalise(self, images: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N C H W"]:
        """Return what the network sees of canonical images, in their precision."""
        planes: Tensor = (images - self.get_buffer("_mean")) / self.get_buffer("_std")
        return planes

    def to_probabilities(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Return probabilities: of classes, which sum to 1, or of labels."""
        return logits.sigmoid() if self.multi_label else logits.softmax(dim=1)

    def to_log_probabilities(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Return the logarithms of :meth:`to_probabilities`, also where those round to 0."""
        if self.multi_label:
            return nn.functional.logsigmoid(logits)
        return logits.log_softmax(dim=1)

    def require_gradient(self, where: str) -> None:
        """Refuse a black box where a gradient is needed.

        Raises:
            InputContractError: If not ``has_gradient``.
        """
        if not self.has_gradient:
            raise InputContractError(
                f"{where}: needs gradients, and the model is a black box without;"
                f" {WITHOUT_GRADIENT}"
            )

    def require_classes(self, where: str) -> None:
        """Refuse labels where classes that exclude each other are needed.

        Raises:
            InputContractError: If ``multi_label``.
        """
        if self.multi_label:
            raise InputContractError(
                f"{where}: the classifier has labels of which a film has any number; expected"
                " classes that exclude each other; name the one to ask about (--target,"
                " target_class), or use films of the classes 'no X' and 'X'"
            )

    def forward(self, images: Tensor) -> Float[Tensor, "N K"]:
        """Return logits of canonical images.

        The network gets its planes in the precision of its first weights.

        Args:
            images: ``(N, 1, H, W)``; the range [0, 1] is not checked in this inner loop.

        Returns:
            One row per image, one unbounded number per class, in single precision at least.

        Raises:
            InputContractError: If the images are not ``(N, 1, H, W)`` of ``image_size``.
        """
        if images.ndim != 4 or images.shape[1:] != (1, *self.image_size):
            raise InputContractError(
                f"models.classifier: images have shape {tuple(images.shape)}; expected"
                f" (N, 1, {self.image_size[0]}, {self.image_size[1]}); render views of that size"
            )
        logits: Tensor = self.module(self.normalise(images).to(self.dtype))
        if isinstance(logits, Tensor) and logits.dtype in {torch.bfloat16, torch.float16}:
            return logits.float()  # softmax and differences of scores need more digits
        return logits

    def _refuse_probabilities(self) -> None:
        if self.device.type == "meta":
            return
        probes = make_probes(*self.image_size, dtype=torch.float32, device=self.device)
        outputs = self._run(probes)
        if probes.requires_grad:
            self.has_gradient = outputs.requires_grad
        reason = find_probabilities(outputs, probes, self._run)
        if reason is not None:
            raise InputContractError(
                f"models.classifier: the network {reason}, so it returns probabilities; expected"
                " logits, which become probabilities here; return what goes into its last"
                f" function, or give model import --output probabilities; {_LABELS}"
            )

    def _run(self, images: Tensor) -> Tensor:
        """Run images in evaluation mode, with a graph where there can be one.

        Returns:
            Logits of the images.

        Raises:
            InputContractError: If the network fails or returns something else.
        """
        n, _, height, width = images.shape
        tensors = [*self.module.parameters(), *self.module.buffers()]
        has_graph = not torch.is_inference_mode_enabled() and not any(
            tensor.is_inference() for tensor in tensors
        )
        try:
            with evaluating(self), torch.set_grad_enabled(has_graph):
                logits = self(images.requires_grad_(has_graph))
        except (RuntimeError, TypeError, IndexError) as error:
            single = "" if self.dtype == torch.float32 else ", or call .float() on the network"
            raise InputContractError(
                f"models.classifier: the network fails on an input of shape"
                f" ({n}, {self.channels}, {height}, {width}) and {self.dtype}:"
                f" {str(error).splitlines()[0]}; check image_size and channels{single}"
            ) from error
        if not isinstance(logits, Tensor) or logits.shape != (n, self.n_classes):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            remedy = _LABELS if found in {(n,), (n, 1)} else "wrap it in a module that does"
            raise InputContractError(
                f"models.classifier: the network returns {found} for {n} images and"
                f" {self.n_classes} class names; expected one tensor ({n}, {self.n_classes}) of"
                f" logits; {remedy}"
            )
        return logits


@contextmanager
def evaluating(classifier: Classifier) -> Iterator[None]:
    """Switch to evaluation mode and put every training flag back.

    Other threads that ask for the same network, by whatever classifier, wait: one would take the
    other's flags for the caller's own.

    Args:
        classifier: Changed inside, as it was afterwards.

    Yields:
        Nothing.
    """
    with _LOCKS_GUARD:
        lock = _LOCKS.setdefault(classifier.module, threading.RLock())
    with lock:
        flags = [(module, module.training) for module in classifier.modules()]
        classifier.eval()
        try:
            yield
        finally:
            for module, flag in flags:
                module.training = flag


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, (value,) if isinstance(value, int | float) else value))
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputContractError(
            f"models.classifier: {name} is {value!r}; expected a finite number, or one per channel"
        )
    if len(numbers) == 1:
        numbers = numbers * channels
    if len(numbers) != channels:
        raise InputContractError(
            f"models.classifier: {name} has {len(numbers)} numbers for {channels} channels;"
            " expected one, or one per channel"
        )
    return numbers


def _check_sizes(image_size: tuple[int, int], channels: int) -> tuple[tuple[int, int], int]:
    given: tuple[Any, ...] = (*image_size, channels) if isinstance(image_size, tuple | list) else ()
    if len(given) != 3 or not all(isinstance(n, Integral) and int(n) >= 1 for n in given):
        raise InputContractError(
            f"models.classifier: image_size is {image_size!r} and channels {channels!r}; expected"
            " (height, width) and a number of planes, whole numbers from 1"
        )
    return (int(given[0]), int(given[1])), int(given[2])

"""A private copy of a classifier that computes the same logits and image gradients faster.

Owns what may be rewritten without changing a result beyond rounding: batch normalisation folded
into the convolution before it, and a first convolution that takes the gray plane itself.
"""

import logging
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.fx.experimental.optimization import fuse

from covid_debug.models.classifier import Classifier
from covid_debug.models.foreign import ForeignNetwork
from covid_debug.models.tracing import trace

HOOK_TABLES = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
    "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
)  # fmt: skip
"""Where a module keeps its hooks."""
_KNOWN_PACKAGES = {"torch", "torchvision", "covid_debug"}
_LOGITS_TOLERANCE = 0.005
"""Largest difference of a copy's logits on the probe images, as a share of the largest logit."""
_GRADIENT_TOLERANCE = 0.1
"""Largest difference of a copy's image gradient (Euclidean norm), as a share of the gradient.

Right copies of the catalogue's networks stay below 1e-6 and 1e-2 in single precision: rounding
turns a few units near zero on or off. Coarser arithmetic of a GPU turns more; a wrong copy is
wrong by about 1.
"""
_LOG = logging.getLogger(__name__)
_TOLD: WeakSet[Classifier] = WeakSet()


def make_fast_copy(classifier: Classifier) -> Classifier:
    """Return a copy with the same outputs, or the classifier itself where that is not safe.

    Only networks made of torch's, torchvision's and this package's modules, without hooks and
    without patched methods, are rewritten: a module of somebody else's may count, log or fail when
    it is called. Nor are weights of half precision, where folding would round them again. The copy
    is compared with the model on two probe images; where logits or gradients differ by more than
    the tolerances, the model itself is returned, with one logged warning a classifier.

    Args:
        classifier: In evaluation mode; left as it is. The copy does not follow later changes.

    Returns:
        A classifier for inference and gradients of images; its parameters are frozen.
    """
    weights = (*classifier.parameters(), *classifier.buffers())
    if not all(is_known(module) for module in classifier.modules()) or any(
        tensor.is_inference() or tensor.dtype in {torch.float16, torch.bfloat16}
        for tensor in weights
    ):
        return classifier
    with torch.inference_mode(mode=False):  # the copy is compared by its gradients, too
        copy = _rewrite(classifier)
        difference = None if copy is None else _find_difference(copy, classifier)
    if copy is not None and difference is None:
        return copy
    if difference is not None and classifier not in _TOLD:
        _TOLD.add(classifier)
        _LOG.warning("fast copy not used, the model itself is slower but right: %s", difference)
    return classifier


def _rewrite(classifier: Classifier) -> Classifier | None:
    """Return the copy, or None where the network cannot be traced."""
    try:
        traced = trace(classifier.module)
        network = cast("fx.GraphModule", fuse(traced, no_trace=True))
    except Exception:  # noqa: BLE001 - whatever tracing stumbles over, the original still works
        return None
    takes_gray = classifier.device.type == "cpu" and _replace_stem(network, classifier)
    return Classifier(
        network.eval().requires_grad_(requires_grad=False),
        class_names=classifier.class_names,
        image_size=classifier.image_size,
        mean=0.0 if takes_gray else classifier.mean,
        std=1.0 if takes_gray else classifier.std,
        channels=1 if takes_gray else classifier.channels,
        multi_label=classifier.multi_label,
    ).eval()


def _find_difference(copy: Classifier, classifier: Classifier) -> str | None:
    """Say how a copy differs from its model on noise, or None."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    shape = (2, 1, *classifier.image_size)
    dtype = classifier.get_buffer("_mean").dtype
    noise = torch.rand(shape, generator=generator, dtype=dtype, device="cpu")
    probes = noise.to(classifier.device)
    logits, gradient = _probe(classifier, probes)
    copied_logits, copied_gradient = _probe(copy, probes)
    off = float((copied_logits - logits).abs().max() / logits.abs().max().clamp(min=1e-12))
    if not off <= _LOGITS_TOLERANCE:
        return f"its logits are off by {off:.1%} (allowed {_LOGITS_TOLERANCE:.1%})"
    off = float((copied_gradient - gradient).norm() / gradient.norm().clamp(min=1e-12))
    if not off <= _GRADIENT_TOLERANCE:
        return f"its gradients are off by {off:.1%} (allowed {_GRADIENT_TOLERANCE:.1%})"
    return None


def _probe(classifier: Classifier, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and the image gradient of a sum that weighs every class differently."""
    with torch.enable_grad():
        leaf = probes.clone().requires_grad_()
        logits = classifier(leaf)
        weights = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), leaf)
    return logits.detach(), gradient


def is_known(module: nn.Module) -> bool:
    """Tell whether calling a copy of a module is the same as calling the module."""
    # A method patched on the module itself may do anything; what the probes do not reach of it
    # would be lost where the module is rewritten, and a count frozen where it is traced.
    is_patched = any(callable(getattr(type(module), name, None)) for name in vars(module))
    is_changed = is_patched or any(getattr(module, table) for table in HOOK_TABLES)
    is_ours = type(module).__module__.split(".")[0] in _KNOWN_PACKAGES
    return is_ours and not is_changed and not isinstance(module, ForeignNetwork)


def _replace_stem(network: fx.GraphModule, classifier: Classifier) -> bool:
    """Let the first convolution take canonical images, where it is a plain one."""
    entry = next(node for node in network.graph.nodes if node.op == "placeholder")
    users = list(entry.users)
    if len(users) != 1 or users[0].op != "call_module":
        return False
    name = str(users[0].target)
    stem = network.get_submodule(name)
    called = sum(node.op == "call_module" and node.target == name for node in network.graph.nodes)
    if type(stem) is not nn.Conv2d or called > 1 or not _is_plain(stem):
        return False
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, _GrayStem(stem, classifier))
    return True


def _is_plain(stem: nn.Conv2d) -> bool:
    return (
        stem.padding_mode == "zeros"
        and not isinstance(stem.padding, str)
        and stem.dilation == (1, 1)
        and stem.groups == 1
    )


class _GrayStem(nn.Module):
    """Normalisation, repetition of the gray plane and the first convolution in one.

    All three are linear, so their joint answer is a convolution of the gray plane plus what they
    make of a black film, borders included.
    """

    def __init__(self, stem: nn.Conv2d, classifier: Classifier) -> None:
        super().__init__()
        mean, std = classifier.get_buffer("_mean"), classifier.get_buffer("_std")
        black = torch.zeros(1, 1, *classifier.image_size, dtype=stem.weight.dtype)
        with torch.no_grad():
            self.register_buffer("weight", (stem.weight / std).sum(dim=1, keepdim=True))
            self.register_buffer("offset", stem((black - mean) / std))
        self.stride, self.padding = stem.stride, stem.padding

    def forward(self, images: Tensor) -> Tensor:
        weight, offset = self.get_buffer("weight"), self.get_buffer("offset")
        result: Tensor = _ThinConvolution.apply(images, weight, self.stride, self.padding)
        return result + offset


class _ThinConvolution(torch.autograd.Function):
    """Convolution of one plane; its gradient is several times as fast as the general one.

    The general gradient is built for many input planes. With one, a matrix product gives every
    output pixel's contribution to each kernel position, and adding them up is one slice addition
    per position on the phases of the stride.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding, ctx.size = stride, padding, images.shape[-2:]
        return nn.functional.conv2d(images, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        (weight,) = ctx.saved_tensors
        gradient = gradients[0].to(weight.dtype)  # under autocast it is of half precision
        (down, right), (top, left), (height, width) = ctx.stride, ctx.padding, ctx.size
        n, n_out, h, w = gradient.shape
        n_rows, n_columns = weight.shape[-2:]
        parts = weight.reshape(n_out, -1).T @ gradient.reshape(n, n_out, -1)
        parts = parts.view(n, n_rows, n_columns, h, w)
        tall = max(-(-(height + top) // down), h + (n_rows - 1) // down)
        wide = max(-(-(width + left) // right), w + (n_columns - 1) // right)
        phases = gradient.new_zeros(n, down, right, tall, wide)
        for row in range(n_rows):
            for column in range(n_columns):
                y, x = row // down, column // right
                phase = phases[:, row % down, column % right, y : y + h, x : x + w]
                phase += parts[:, row, column]
        padded = phases.permute(0, 3, 1, 4, 2).reshape(n, 1, tall * down, wide * right)
        return padded[..., top : top + height, left : left + width], None, None, None

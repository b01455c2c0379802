"""Backbones by name.

Builds networks that map normalised planes to logits; wrapping them in a classifier and reading
checkpoints belong to the neighbours. Nothing is ever downloaded: weights come from local files.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from covid_debug.catalog import Catalog
from covid_debug.errors import CatalogError, InputContractError, suggest
from covid_debug.models.covidnet import CovidNet
from covid_debug.models.weights import State, fill_network, read_state
from covid_debug.optional import require

GRAY_MEAN = 0.449
"""Mean of ImageNet's three channel means; normalises every backbone, trained from it or not."""
GRAY_STD = 0.226
"""Mean of ImageNet's three channel standard deviations."""


_OF_TORCHVISION = (
    "resnet18",
    "resnet50",
    "densenet121",
    "mobilenet_v3_small",
    "efficientnet_b0",
)
INCEPTIONS = ("torchvision:googlenet", "torchvision:inception_v3")
"""With torchvision's weights they undo its normalisation and take (x - 0.5) / 0.5; built without
them, as here, they do not (``transform_input``). Their files may hold auxiliary heads."""


def build_backbone(
    arch: str,
    n_classes: int,
    channels: int = 1,
    *,
    weights_path: Path | None = None,
    **arch_params: Any,  # noqa: ANN401
) -> nn.Module:
    """Build a network that maps ``(N, channels, H, W)`` normalised planes to logits.

    Weights are drawn from torch's global generator, or read from ``weights_path``. From a file
    made for another number of classes the last layer stays freshly drawn; a stem made for three
    channels is summed over them for a one-channel network, which gives the same features on gray.

    Args:
        arch: Name in :data:`BACKBONES`, or ``torchvision:NAME`` or ``timm:NAME`` of any
            classification network of these packages.
        n_classes: Number of logits.
        channels: Image planes, 1 or 3.
        weights_path: Local weights, for example a torchvision ImageNet file.
        arch_params: Keyword arguments of the architecture (:class:`CovidNet` has widths and
            depths; torchvision's have their own, e.g. ``dropout``).

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        CatalogError: If the name is unknown.
        InputContractError: If a parameter is unknown or out of range.
        CheckpointError: If the weights cannot be read or do not fit.
    """
    if n_classes < 1 or channels not in {1, 3}:
        raise InputContractError(
            f"models.catalog: n_classes is {n_classes} and channels {channels};"
            " expected at least 1 logit and 1 or 3 channels"
        )
    package, sign, name = arch.partition(":")
    builder = _PACKAGES[package](name) if sign and package in _PACKAGES else BACKBONES[arch]
    try:
        network = builder(n_classes, channels, **arch_params)
    except (TypeError, ValueError) as error:
        raise InputContractError(
            f"models.catalog: {arch} cannot be built with {arch_params} ({error})"
        ) from error
    if weights_path is not None:
        state = _adapt(read_state(weights_path), network)
        fill_network(network, state, f"{weights_path} for {arch}")
    return network


def _covidnet(n_classes: int, channels: int, **params: Any) -> nn.Module:  # noqa: ANN401
    return CovidNet(n_classes, channels=channels, **params)


def _from_torchvision(name: str) -> Callable[..., nn.Module]:
    def build(n_classes: int, channels: int, **params: Any) -> nn.Module:  # noqa: ANN401
        build_network = getattr(torchvision.models, name)
        if name == "densenet121":
            params = {"memory_efficient": False, **params}
        network: nn.Module = build_network(weights=None, num_classes=n_classes, **params)
        return network if channels == 3 else _rebuild_convolutions(network, stem_channels=1)

    return build


@dataclass(frozen=True)
class Preset:
    """What a package's own weights of an architecture were made with.

    Attributes:
        mean: Of [0, 1] intensity, one number a channel.
        std: Likewise.
        image_size: Side of the square that they were tried on.
        size_parameter: Keyword of the architecture for another side; None where it takes any.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    size_parameter: str | None = None


def find_preset(arch: str) -> Preset | None:
    """Return what the published weights of an architecture were made with.

    A plain name that is torchvision's, too, is taken for torchvision's: a loose file of three
    planes comes from there, and what this project trains is a checkpoint folder.

    Args:
        arch: As for :func:`build_backbone`.

    Returns:
        None for architectures without published weights.

    Raises:
        CatalogError: If the package has no such network.
    """
    package, sign, name = arch.partition(":")
    if not sign and arch in _OF_TORCHVISION:
        package, name = "torchvision", arch
    if package == "torchvision":
        _any_torchvision(name)
        chosen = next(iter(torchvision.models.get_model_weights(name)), None)
        if chosen is None:
            return None
        if f"{package}:{name}" in INCEPTIONS:
            mean = std = (0.5, 0.5, 0.5)
        else:
            mean, std = tuple(chosen.transforms().mean), tuple(chosen.transforms().std)
        keyword = "image_size" if name.startswith("vit_") else None
        return Preset(mean, std, chosen.transforms().crop_size[0], keyword)
    if package == "timm":
        _any_timm(name)
        found = importlib.import_module("timm").get_pretrained_cfg(name)
        if found is not None:
            keyword = "img_size" if found.fixed_input_size else None
            return Preset(tuple(found.mean), tuple(found.std), found.input_size[-1], keyword)
    return None


def _any_torchvision(name: str) -> Callable[..., nn.Module]:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise CatalogError(
            f"models.catalog: torchvision has no classification network {name!r}"
            f"{suggest(name, known)}"
        )

    def build(n_classes: int, channels: int, **params: Any) -> nn.Module:  # noqa: ANN401
        network: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=n_classes, **params
        )
        return network if channels == 3 else _rebuild_convolutions(network, stem_channels=1)

    return build


def _any_timm(name: str) -> Callable[..., nn.Module]:
    require("timm", purpose=f"timm:{name}")
    timm = importlib.import_module("timm")
    if not timm.is_model(name):
        raise CatalogError(
            f"models.catalog: timm has no network {name!r}{suggest(name, timm.list_models())}"
        )

    def build(n_classes: int, channels: int, **params: Any) -> nn.Module:  # noqa: ANN401
        network: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=n_classes, in_chans=channels, **params
        )
        return network

    return build


_PACKAGES: dict[str, Callable[[str], Callable[..., nn.Module]]] = {
    "torchvision": _any_torchvision,
    "timm": _any_timm,
}


def _resnet18_half(n_classes: int, channels: int) -> nn.Module:
    """Return ResNet-18 with half of the channels everywhere; a quarter of its cost."""
    network = torchvision.models.resnet18(weights=None, num_classes=n_classes)
    network = _rebuild_convolutions(network, stem_channels=channels, divisor=2)
    network.fc = nn.Linear(256, n_classes)
    return network


def _rebuild_convolutions(network: nn.Module, *, stem_channels: int, divisor: int = 1) -> nn.Module:
    """Change the stem's input planes and divide all other channels in place.

    Returns:
        The same network.
    """
    is_stem = True
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and (is_stem or divisor > 1):
                replacement = nn.Conv2d(
                    stem_channels if is_stem else child.in_channels // divisor,
                    child.out_channels // divisor,
                    child.kernel_size,  # type: ignore[arg-type]
                    stride=child.stride,  # type: ignore[arg-type]
                    padding=child.padding,  # type: ignore[arg-type]
                    bias=child.bias is not None,
                )
                nn.init.kaiming_normal_(replacement.weight, mode="fan_out", nonlinearity="relu")
                setattr(parent, name, replacement)
                is_stem = False
            elif isinstance(child, nn.BatchNorm2d) and divisor > 1:
                setattr(parent, name, nn.BatchNorm2d(child.num_features // divisor))
    return network


def _adapt(state: State, network: nn.Module) -> State:
    """Rename, sum the stem over its planes and drop a last layer of other classes.

    Returns:
        A state that fits the network if it was made for the same architecture.
    """
    # Old DenseNet files write "norm.1" where the module is called "norm1".
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.", r"\1", name): state[name] for name in state
    }
    expected = network.state_dict()
    stem = next(name for name, value in expected.items() if value.ndim == 4)
    is_summable = stem in state and state[stem].ndim == 4 and expected[stem].shape[1] == 1
    if is_summable:
        state[stem] = state[stem].sum(dim=1, keepdim=True)
    head = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    for name in (f"{head}.weight", f"{head}.bias"):
        if name in state and state[name].shape != expected[name].shape:
            state[name] = expected[name]
    return state


BACKBONES: Catalog[Callable[..., nn.Module]] = Catalog(
    "models.catalog",
    {
        "covidnet": _covidnet,
        "resnet18_half": _resnet18_half,
    }
    | {name: _from_torchvision(name) for name in _OF_TORCHVISION},
)

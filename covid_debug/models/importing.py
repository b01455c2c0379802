"""Making a checkpoint folder of somebody's trained network.

Owns what is asked of the file and what is taken where nobody said; the kinds of files belong to
:mod:`.foreign`, the folder to :mod:`.checkpoint`.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from covid_debug.artifacts import check_absent
from covid_debug.errors import CheckpointError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, INCEPTIONS, find_preset
from covid_debug.models.checkpoint import OWN_ARCH, build_network, write_checkpoint
from covid_debug.models.classifier import WITHOUT_GRADIENT
from covid_debug.models.factories import Factory
from covid_debug.models.foreign import (
    Kind,
    Program,
    find_kind,
    open_program,
    read_planes,
    trace_network,
    wrap_function,
)
from covid_debug.models.heads import OUTPUTS, Output, find_outputs, wrap_network
from covid_debug.models.weights import State, fill_network, read_weights

Say = Callable[[str], None]
_PREFIXES = ("module.", "model.", "net.", "network.", "backbone.", "_orig_mod.")
_THRESHOLDS = "op_threshs"
"""A buffer of torchxrayvision's models; with it their outputs are scaled to .5 at a threshold."""
_SUFFIX = {"torchscript": ".ts", "exported": ".pt2", "onnx": ".onnx"}


@dataclass(frozen=True)
class ModelFacts:
    """What a file of a network does not say, or what its owner says instead.

    Attributes:
        class_names: Class, or label, of each output, in order; two for a network of one output.
        image_size: Side of the square that it takes; None: as the file says, else of the
            architecture's published weights, else 224.
        top_crop: Share of a film's rows that is dropped at the top.
        channels: Planes, 1 or 3; None: as the file says, else 3.
        mean: Subtracted, one number or one a channel, in units of [0, 1] intensity; None: of the
            architecture's published weights, else 0. A network that takes [-1024, 1024], as those
            of torchxrayvision do, has mean 0.5 and std 0.5 / 1024.
        std: Divides, > 0; None likewise, else 1.
        multi_label: Whether a film has any number of the labels.
        output: What the network returns.
    """

    class_names: tuple[str, ...]
    image_size: int | None = None
    top_crop: float = 0.0
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    multi_label: bool = False
    output: Output = "logits"

    def __post_init__(self) -> None:
        """Check names and words.

        Raises:
            InputContractError: If there are too few or equal names, an unknown word, or a number
                out of range.
        """
        least = 1 if self.multi_label else 2
        names = self.class_names
        are_names = all(name and name.isprintable() for name in names)
        if len(names) < least or len(set(names)) < len(names) or not are_names:
            raise InputContractError(
                f"--classes {','.join(names)}: expected at least {least} different names"
            )
        if self.output not in OUTPUTS:
            raise InputContractError(f"--output {self.output}: expected {' or '.join(OUTPUTS)}")
        if (self.mean is None) != (self.std is None):
            raise InputContractError("--mean and --std belong together; give both or none")
        if self.channels not in {None, 1, 3}:
            raise InputContractError(f"--channels {self.channels}: expected 1 or 3")
        for option, numbers in (("--mean", self.mean or ()), ("--std", self.std or ())):
            is_range = option == "--mean" or min(numbers, default=1) > 0
            if not all(map(math.isfinite, numbers)) or not is_range:
                given = ",".join(f"{number:g}" for number in numbers)
                raise InputContractError(f"{option} {given}: expected finite numbers, std > 0")


def import_model(
    source: Path | None,
    out: Path,
    facts: ModelFacts,
    *,
    arch: str | None = None,
    factory: Factory | None = None,
    function: Factory | None = None,
    called: str | None = None,
    say: Say,
) -> Path:
    """Make a checkpoint folder of a model file or of a function.

    Args:
        source: Weights, TorchScript, ``torch.export``, ONNX, or the pickle of a network that is
            trusted, which becomes TorchScript or, with ``arch`` or ``factory``, weights; None for a
            function.
        out: Folder to create.
        facts: What the file does not say.
        arch: Architecture of weights, see :func:`.catalog.build_backbone`; or
        factory: builds their network.
        function: A black box: float32 images ``(N, channels, H, W)`` to ``(N, K)``.
        called: What the user calls the file; None: by its place.
        say: Is told, in one line each, what was found and what was assumed.

    Returns:
        ``out``.

    Raises:
        CheckpointError: If the file cannot be read without running code, or does not fit.
        InputContractError: If the network does not do what ``facts`` say.
    """
    check_absent(out)
    if source is None and function is None:
        raise InputContractError("model import: no SOURCE; name a model file, or a --function")
    where = "the function" if source is None else called or str(source)
    kind: Kind = "function" if source is None else find_kind(source)
    found: Program | State | nn.Module
    if source is None:
        found = wrap_function(function)  # type: ignore[arg-type]
    else:
        found = read_weights(source) if kind == "weights" else open_program(source, kind)
    _check_choice(where, kind, found, arch, factory)
    files: dict[str, bytes | Path] = {}
    if isinstance(found, Program):
        _check_said(where, facts, found.channels, found.image_size)
        spec = _describe(facts, kind, found.channels, found.image_size, kind, say)
        network: nn.Module = found.network
        if source is not None:
            spec["file"] = f"model{_SUFFIX[kind]}"
            files = {spec["file"]: source, **{one.name: one for one in found.beside}}
    elif isinstance(found, nn.Module) and arch is None and factory is None:
        network = found.eval()
        kind = "torchscript"
        spec = _describe(facts, kind, read_planes(found.state_dict()), None, kind, say)
    else:
        state = found.state_dict() if isinstance(found, nn.Module) else found
        planes, size = read_planes(state), _read_size(arch, state)
        if arch is not None:
            _check_said(where, facts, planes, size)
        spec = _describe(facts, kind, planes, size, arch or OWN_ARCH, say)
        network = _fill(spec, factory, state, where, say)
    seen = find_outputs(network, spec, where)
    if "batch" in spec:
        say("calls: one image each; it takes no two at once")
    if kind == "torchscript" and not files:
        spec["file"] = f"model{_SUFFIX[kind]}"
        try:
            files = {spec["file"]: trace_network(network, seen)}
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error
        say(
            "layers: none, its pickle became TorchScript; with --arch or --factory its weights are"
            " taken, and Grad-CAM and the rules on layers work"
        )
    classifier = wrap_network(network, spec, ViewSpec(**spec["view"]))
    if len(facts.class_names) > 2 and not facts.multi_label:
        say(
            f"outputs: {len(facts.class_names)} classes of which a film has one; --multi-label"
            " where it may have several"
        )
    has_gradient = classifier.has_gradient
    say("gradient: available" if has_gradient else f"gradient: none; {WITHOUT_GRADIENT}")
    weights = network.state_dict() if kind == "weights" else None
    n_parameters = sum(weight.numel() for weight in network.parameters())
    return write_checkpoint(
        out,
        spec,
        weights,
        files,
        facts={"n_parameters": n_parameters},
        parameters={"source": where},
    )


def _check_choice(
    where: str,
    kind: Kind,
    found: Program | State | nn.Module,
    arch: str | None,
    factory: Factory | None,
) -> None:
    n_named = (arch is not None) + (factory is not None)
    if kind == "weights" and n_named != 1 and (n_named or not isinstance(found, nn.Module)):
        raise InputContractError(
            f"{where}: holds weights alone; say of what network, by either --arch (resnet18,"
            " torchvision:NAME, timm:NAME) or --factory my_package.models:build"
        )
    if kind != "weights" and n_named:
        raise InputContractError(f"{where}: is a whole network ({kind}); drop --arch and --factory")


def _check_said(
    where: str, facts: ModelFacts, channels: int | None, size: tuple[int, int] | None
) -> None:
    """Refuse what contradicts the file."""
    if size is not None and size[0] != size[1]:
        raise CheckpointError(
            f"{where}: takes images of {size[0]} x {size[1]} pixels; views are square; export it"
            " for a square size, or wrap it in a --function that resizes"
        )
    for name, said, found in (
        ("--image-size", facts.image_size, size and size[0]),
        ("--channels", facts.channels, channels),
    ):
        if said is not None and found is not None and said != found:
            raise InputContractError(f"{name} {said}: {where} takes {found}; leave {name} out")


def _read_size(arch: str | None, state: State) -> tuple[int, int] | None:
    """Return the size that a vision transformer's table of positions was made for."""
    if arch is None or not arch.startswith(("torchvision:vit_", "timm:vit_")):
        return None
    tables = [v for k, v in state.items() if k.endswith(("pos_embedding", "pos_embed"))]
    patches = [v for v in state.values() if v.ndim == 4]
    if len(tables) != 1 or tables[0].ndim != 3 or not patches:
        return None
    for n_tokens in (tables[0].shape[1] - 1, tables[0].shape[1]):
        rows = math.isqrt(n_tokens)
        if rows * rows == n_tokens:
            side = rows * int(patches[0].shape[-1])
            return side, side
    return None


def _describe(
    facts: ModelFacts,
    kind: Kind,
    channels: int | None,
    size: tuple[int, int] | None,
    arch: str,
    say: Say,
) -> dict[str, Any]:
    """Return the content of ``checkpoint.json``; what nobody said is assumed, and told."""
    assumed = []
    preset = find_preset(arch) if kind == "weights" and arch != OWN_ARCH else None
    side = facts.image_size or (size[0] if size else None)
    if side is None:
        side = preset.image_size if preset else 224
        assumed.append(f"--image-size {side}")
    planes = facts.channels or channels
    if planes is None:
        planes = 3
        assumed.append("--channels 3")
    mean, std = facts.mean, facts.std
    if mean is None or std is None:
        mean, std = (0.0,), (1.0,)
        if preset is not None:
            mean, std = preset.mean, preset.std
            if planes == 1:
                mean, std = (sum(mean) / 3,), (sum(std) / 3,)
        elif kind == "weights" and arch != OWN_ARCH:
            mean, std = (GRAY_MEAN,), (GRAY_STD,)
        numbers = (",".join(f"{number:g}" for number in each) for each in (mean, std))
        assumed.append("--mean {} --std {}".format(*numbers))
    for option, given in (("--mean", mean), ("--std", std)):
        if len(given) not in {1, planes}:
            raise InputContractError(
                f"{option}: has {len(given)} numbers for {planes} channels; give one, or one each"
            )
    if assumed:
        say(f"assumed: {' '.join(assumed)}")
    return {
        "kind": kind,
        "arch": arch,
        "arch_params": (
            {}
            if preset is None or preset.size_parameter is None or side == preset.image_size
            else {preset.size_parameter: side}
        ),
        "class_names": facts.class_names,
        "image_size": (side, side),
        "channels": planes,
        "mean": mean,
        "std": std,
        "multi_label": facts.multi_label,
        "output": facts.output,
        "view": asdict(ViewSpec(image_size=side, top_crop=facts.top_crop)),
    }


def _fill(
    spec: dict[str, Any], factory: Factory | None, state: State, where: str, say: Say
) -> nn.Module:
    """Build the network of weights and fill it."""
    n_names = len(spec["class_names"])
    if spec["arch"] in INCEPTIONS:
        has_some = any(".aux" in f".{name}".lower() for name in state)
        spec["arch_params"] = {**spec["arch_params"], "aux_logits": has_some}
    network = build_network(spec, factory, Path(where))
    state, prefix = _strip(state, network)
    if prefix:
        say(f"names of weights: prefix {prefix!r} dropped")
    n_outputs = n_names if factory is not None else _count_outputs(network, state, n_names)
    if n_outputs != n_names:
        if n_outputs != 1 or n_names != 2 or spec["multi_label"]:
            raise CheckpointError(
                f"{where}: has {n_outputs} outputs, --classes names {n_names}; name one class an"
                " output, in the order of training"
            )
        spec["n_outputs"] = 1
        network = build_network(spec, factory, Path(where))
    expected = set(network.state_dict())
    others = sorted(set(state) - expected)
    if others == [_THRESHOLDS]:
        say(f"{_THRESHOLDS} left out: labels have their sigmoids, not these scaled by thresholds")
    elif others and prefix and expected <= set(state):
        say(f"left out: {len(others)} tensors beside the network (e.g. {', '.join(others[:3])})")
    else:
        others = []
    fill_network(network, {name: state[name] for name in state if name not in others}, where)
    return network


def _count_outputs(network: nn.Module, state: State, n_names: int) -> int:
    """Return the rows of the last layer in a state; ``n_names`` where nothing says so."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    heads = [name for name in names if f"{name}.weight" in state]
    if not heads:
        return n_names  # the comparison of the weights says what lacks
    weight = state[f"{heads[-1]}.weight"]
    expected = network.state_dict()[f"{heads[-1]}.weight"]
    return len(weight) if weight.shape[1:] == expected.shape[1:] else n_names


def _strip(state: State, network: nn.Module) -> tuple[State, str]:
    """Drop a wrapper's prefix, where more names fit without it."""
    expected = set(network.state_dict())

    def without(prefix: str) -> State:
        names = (name for name in state if name.startswith(prefix))
        return {name.removeprefix(prefix): state[name] for name in names}

    best = max(("", *_PREFIXES), key=lambda prefix: len(expected & set(without(prefix))))
    if not best:
        return state, ""
    surplus = [name for name in state if not name.startswith(best)]
    return {**without(best), **{name: state[name] for name in surplus}}, best

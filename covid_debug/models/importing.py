"""Making a checkpoint folder of somebody's trained network.

Owns what is asked of the file and what is taken where nobody said; the kinds of files belong to
:mod:`.foreign`, the folder to :mod:`.checkpoint`.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from covid_debug.artifacts import check_absent, write_artifact
from covid_debug.errors import CheckpointError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, find_normalisation
from covid_debug.models.checkpoint import (
    KIND,
    OWN_ARCH,
    SPEC_NAME,
    WEIGHTS_NAME,
    Factory,
    build_network,
)
from covid_debug.models.classifier import WITHOUT_GRADIENT, Classifier
from covid_debug.models.foreign import Kind, Program, find_kind, open_program, wrap_function
from covid_debug.models.heads import OUTPUTS, Output, check_probabilities, wrap_network
from covid_debug.models.probing import make_probes
from covid_debug.models.weights import State, fill_network, one_line, read_state

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
        image_size: Side of the square that it takes; None: as the file says, else 224.
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
            InputContractError: If there are too few or equal names, or an unknown word.
        """
        least = 1 if self.multi_label else 2
        names = self.class_names
        if len(names) < least or len(set(names)) < len(names) or not all(names):
            raise InputContractError(
                f"--classes {','.join(names)}: expected at least {least} different names"
            )
        if self.output not in OUTPUTS:
            raise InputContractError(f"--output {self.output}: expected {' or '.join(OUTPUTS)}")
        if (self.mean is None) != (self.std is None):
            raise InputContractError("--mean and --std belong together; give both or none")


def import_model(
    source: Path | None,
    out: Path,
    facts: ModelFacts,
    *,
    arch: str | None = None,
    factory: Factory | None = None,
    function: Factory | None = None,
    say: Say,
) -> Path:
    """Make a checkpoint folder of a model file or of a function.

    Args:
        source: Weights, TorchScript, ``torch.export`` or ONNX; None for a function.
        out: Folder to create.
        facts: What the file does not say.
        arch: Architecture of weights, see :func:`.catalog.build_backbone`; or
        factory: builds their network.
        function: A black box: float32 images ``(N, channels, H, W)`` to ``(N, K)``.
        say: Is told, in one line each, what was found and what was assumed.

    Returns:
        ``out``.

    Raises:
        CheckpointError: If the file cannot be read without running code, or does not fit.
        InputContractError: If the network does not do what ``facts`` say.
    """
    check_absent(out)
    if source is None:
        if function is None:
            raise InputContractError("model import: no SOURCE; name a model file, or a --function")
        kind: Kind = "function"
    else:
        kind = find_kind(source)
    _check_choice(source, kind, arch, factory)
    where = "the function" if source is None else str(source)
    state: State | None = None
    if kind == "weights" and source is not None:
        state = read_state(source)
        spec = _describe(facts, kind, _read_planes(state), None, arch or OWN_ARCH, say)
        network = _fill(spec, factory, state, source, say)
    else:
        program = wrap_function(function) if source is None else open_program(source, kind)  # type: ignore[arg-type]
        _check_said(where, facts, program)
        spec = _describe(facts, kind, program.channels, program.image_size, kind, say)
        network = program.network
        if source is not None:
            spec["file"] = f"model{_SUFFIX[kind]}"
    view = ViewSpec(**spec["view"])
    _find_outputs(network, spec, where)
    classifier = wrap_network(network, spec, view)
    if len(facts.class_names) > 2 and not facts.multi_label:
        say(
            f"outputs: {len(facts.class_names)} classes of which a film has one; --multi-label"
            " where it may have several"
        )
    _say_gradient(classifier, say)
    with write_artifact(out, kind=KIND, parameters={"source": where}, device="cpu") as draft:
        (draft.path / SPEC_NAME).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        if kind == "weights":
            tensors = {
                name: value.detach().clone(memory_format=torch.contiguous_format)
                for name, value in network.state_dict().items()
            }
            save_file(tensors, draft.path / WEIGHTS_NAME)
        elif source is not None:
            shutil.copyfile(source, draft.path / spec["file"])
        n_parameters = sum(weight.numel() for weight in network.parameters())
        draft.facts.update({"arch": spec["arch"], "n_parameters": n_parameters})
    return out


def _check_choice(
    source: Path | None, kind: Kind, arch: str | None, factory: Factory | None
) -> None:
    if kind == "weights" and (arch is None) == (factory is None):
        raise InputContractError(
            f"{source}: holds weights alone; say of what network, by either --arch (resnet18,"
            " torchvision:NAME, timm:NAME) or --factory my_package.models:build"
        )
    if kind != "weights" and (arch is not None or factory is not None):
        raise InputContractError(
            f"{source or '--function'}: is a whole network ({kind}); drop --arch and --factory"
        )


def _check_said(where: str, facts: ModelFacts, program: Program) -> None:
    """Refuse what contradicts the file."""
    size = program.image_size
    if size is not None and size[0] != size[1]:
        raise CheckpointError(
            f"{where}: takes images of {size[0]} x {size[1]} pixels; views are square; export it"
            " for a square size, or wrap it in a --function that resizes"
        )
    for name, said, found in (
        ("--image-size", facts.image_size, size and size[0]),
        ("--channels", facts.channels, program.channels),
    ):
        if said is not None and found is not None and said != found:
            raise InputContractError(f"{name} {said}: {where} takes {found}; leave {name} out")


def _read_planes(state: State) -> int | None:
    """Return the planes that the first convolution of a state takes."""
    stem = next((value for value in state.values() if value.ndim == 4), None)
    return int(stem.shape[1]) if stem is not None and stem.shape[1] in {1, 3} else None


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
    side = facts.image_size or (size[0] if size else None)
    if side is None:
        side = 224
        assumed.append("--image-size 224")
    planes = facts.channels or channels
    if planes is None:
        planes = 3
        assumed.append("--channels 3")
    mean, std = facts.mean, facts.std
    if mean is None or std is None:
        mean, std = _normalise(arch, kind, planes)
        numbers = (",".join(f"{number:g}" for number in each) for each in (mean, std))
        assumed.append("--mean {} --std {}".format(*numbers))
    if assumed:
        say(f"assumed: {' '.join(assumed)}")
    return {
        "kind": kind,
        "arch": arch,
        "arch_params": {},
        "class_names": facts.class_names,
        "image_size": (side, side),
        "channels": planes,
        "mean": mean,
        "std": std,
        "multi_label": facts.multi_label,
        "output": facts.output,
        "view": asdict(ViewSpec(image_size=side, top_crop=facts.top_crop)),
    }


def _normalise(arch: str, kind: Kind, planes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if kind != "weights" or arch == OWN_ARCH:
        return (0.0,), (1.0,)
    found = find_normalisation(arch) if planes == 3 else None
    return found or ((GRAY_MEAN,), (GRAY_STD,))


def _fill(
    spec: dict[str, Any], factory: Factory | None, state: State, source: Path, say: Say
) -> nn.Module:
    """Build the network of weights and fill it."""
    n_names = len(spec["class_names"])
    if factory is None:
        n_outputs = _count_outputs(spec, state, source)
        if n_outputs != n_names:
            if n_outputs != 1 or n_names != 2 or spec["multi_label"]:
                raise CheckpointError(
                    f"{source}: has {n_outputs} outputs, --classes names {n_names}; name one class"
                    " an output, in the order of training"
                )
            spec["n_outputs"] = 1
    network = build_network(spec, factory, source)
    state, prefix = _strip(state, network)
    if prefix:
        say(f"names of weights: prefix {prefix!r} dropped")
    if _THRESHOLDS in state and _THRESHOLDS not in network.state_dict():
        state = {name: value for name, value in state.items() if name != _THRESHOLDS}
        say(f"{_THRESHOLDS} left out: labels have their sigmoids, not these scaled by thresholds")
    fill_network(network, state, str(source))
    return network


def _count_outputs(spec: dict[str, Any], state: State, source: Path) -> int:
    """Return the rows of the last layer in a state; fit the architecture's own parameters."""
    probe = dict(spec)
    if spec["arch"].startswith(("torchvision:vit_", "timm:vit_")):
        key = "image_size" if spec["arch"].startswith("torchvision") else "img_size"
        spec["arch_params"] = {key: spec["image_size"][0]}
    network = build_network(probe | {"arch_params": spec["arch_params"]}, None, source)
    state, _ = _strip(state, network)
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    n_names = len(spec["class_names"])
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


def _find_outputs(network: nn.Module, spec: dict[str, Any], where: str) -> None:
    """Run two images and compare the outputs with the names; note a single column.

    Raises:
        CheckpointError: If the network fails, or has another number of outputs.
        InputContractError: If probabilities were promised and there are none.
    """
    side, planes = spec["image_size"][0], spec["channels"]
    images = make_probes(side, side, dtype=torch.float32, device=torch.device("cpu"))
    mean, std = (torch.tensor(spec[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    seen = ((images.expand(-1, planes, -1, -1)) - mean) / std
    network.eval()
    try:
        with torch.no_grad():
            outputs = network(seen)
    except CheckpointError:
        raise
    except Exception as error:  # a stranger's network may raise anything
        raise CheckpointError(
            f"{where}: fails on images {tuple(seen.shape)} ({one_line(error)}); check --image-size"
            " and --channels"
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise CheckpointError(
            f"{where}: returns a {type(outputs).__name__}; expected one tensor (N, K)"
        )
    n_names, shape = len(spec["class_names"]), tuple(outputs.shape)
    is_column = shape in {(2,), (2, 1)}
    if is_column and n_names == 2 and not spec["multi_label"]:
        spec["n_outputs"] = 1
    elif shape != (2, n_names):
        n_outputs = 1 if is_column else shape[-1]
        raise CheckpointError(
            f"{where}: has {n_outputs} outputs (shape {shape} for two images), --classes names"
            f" {n_names}; name one class an output, in the order of training"
        )
    if spec["output"] == "probabilities":
        is_labels = spec["multi_label"] or "n_outputs" in spec
        check_probabilities(outputs.reshape(2, -1), where, multi_label=is_labels)


def _say_gradient(classifier: Classifier, say: Say) -> None:
    say("gradient: available" if classifier.has_gradient else f"gradient: none; {WITHOUT_GRADIENT}")

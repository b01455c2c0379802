"""Classifiers on disk.

A checkpoint is an artifact folder: ``checkpoint.json`` says how to build the classifier and its
views, ``model.safetensors`` holds the weights, or another file the whole network
(:mod:`.foreign`). Files never name code to import.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from covid_debug.artifacts import find_damage, read_manifest, write_artifact
from covid_debug.errors import (
    ArtifactError,
    CheckpointError,
    InputContractError,
)
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.models.devices import describe_device, find_device
from covid_debug.models.factories import Factory
from covid_debug.models.foreign import KINDS, find_kind, open_program, wrap_function
from covid_debug.models.heads import ask_films_finding, find_asked, wrap_network
from covid_debug.models.weights import State, fill_network, one_line, read_state

KIND = "checkpoint"
SPEC_NAME = "checkpoint.json"
WEIGHTS_NAME = "model.safetensors"
OWN_ARCH = "own"
"""``arch`` of a network that is not in the catalogue and needs a factory to be loaded."""


@dataclass(frozen=True)
class LoadedModel:
    """A classifier in evaluation mode, how its views are made, and where it comes from."""

    classifier: Classifier
    view: ViewSpec
    manifest: Mapping[str, Any]


def save_checkpoint(
    out: Path,
    classifier: Classifier,
    *,
    arch: str,
    arch_params: Mapping[str, Any],
    view: ViewSpec,
    facts: Mapping[str, Any] | None = None,
    parameters: object = None,
    inputs: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write a checkpoint artifact.

    Args:
        out: Folder to create.
        classifier: On any device.
        arch: Catalogue name, or ``"own"`` for a network that a factory builds.
        arch_params: Parameters of the architecture.
        view: How the classifier's views are made.
        facts: Entries of the manifest, e.g. the best epoch.
        parameters: What the model was trained with, for the manifest.
        inputs: Name -> key or hash of what it was trained from.
        texts: File name -> content of further files, e.g. ``history.json``.

    Returns:
        ``out``.

    Raises:
        ArtifactError: If the place exists or cannot be written, e.g. for want of free space.
        InputContractError: If the classifier has labels instead of classes.
    """
    classifier.require_classes("models.checkpoint")
    spec = {
        "arch": arch,
        "arch_params": dict(arch_params),
        "class_names": classifier.class_names,
        "image_size": classifier.image_size,
        "channels": classifier.channels,
        "mean": classifier.mean,
        "std": classifier.std,
        "view": asdict(view),
    }
    state = classifier.module.state_dict()
    facts = {**(facts or {}), "n_parameters": sum(map(torch.numel, state.values()))}
    given = {name: text.encode() for name, text in (texts or {}).items()}
    device = describe_device(classifier.device)
    return write_checkpoint(
        out, spec, state, given, facts=facts, parameters=parameters, inputs=inputs, device=device
    )


def write_checkpoint(
    out: Path,
    spec: Mapping[str, Any],
    state: State | None,
    files: Mapping[str, bytes | Path],
    *,
    facts: Mapping[str, Any],
    parameters: object = None,
    inputs: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Path:
    """Write the folder of a checkpoint.

    Args:
        out: Folder to create.
        spec: Content of ``checkpoint.json``.
        state: The weights; None where a file is the whole network.
        files: Name -> content, or the file that is copied.
        facts: Entries of the manifest; the architecture is added.
        parameters: See :func:`save_checkpoint`.
        inputs: Likewise.
        device: What computed it; None is this machine's processor.

    Returns:
        ``out``.

    Raises:
        ArtifactError: If the place exists or cannot be written, e.g. for want of free space.
    """
    with write_artifact(
        out, kind=KIND, parameters=parameters, inputs=inputs, device=device
    ) as draft:
        (draft.path / SPEC_NAME).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        if state is not None:
            tensors = {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in state.items()
            }
            try:
                save_file(tensors, draft.path / WEIGHTS_NAME)
            except SafetensorError as error:  # what it makes of a full disk, too
                raise ArtifactError(
                    f"{out}: cannot be written ({error}); nothing finished earlier is lost"
                ) from error
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, draft.path / name)
            else:
                (draft.path / name).write_bytes(content)
        draft.facts.update(facts)
        draft.facts["arch"] = spec["arch"]
    return out


def load_checkpoint(
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    factory: Factory | None = None,
    finding: str | None = None,
    classes: Sequence[str] = (),
) -> LoadedModel:
    """Load a checkpoint artifact.

    A model of several labels becomes the two-class classifier of one of them
    (:func:`.heads.ask_finding`) where a finding is named, or the films' classes are
    ``("no X", "X")``; else it keeps its labels.

    Args:
        folder: Made by training or by ``covid-debug model import``.
        device: Where the classifier is wanted; checked first.
        factory: Builds the network of a checkpoint whose ``arch`` is ``"own"``; of a black box,
            the function itself.
        finding: Label that is asked about; of no meaning for a model of classes.
        classes: Classes of the films that it is asked about.

    Returns:
        The classifier in evaluation mode, its view specification and the manifest.

    Raises:
        CheckpointError: If the checkpoint is a loose file, damaged, or does not fit its network,
            or the network fails or returns probabilities.
    """
    place = find_device(str(device))
    if folder.is_file():
        if find_kind(folder) == "weights":
            read_state(folder)  # a pickle is refused here with its own reason
        raise CheckpointError(
            f"{folder}: is a model file without its classes and view; make a checkpoint folder of"
            f" it: covid-debug model import {folder} --out DIR --classes ..."
        )
    manifest = read_manifest(folder, kind=KIND)
    damaged = find_damage(folder, kind=KIND)
    if damaged:
        raise CheckpointError(
            f"{folder}: {', '.join(damaged[:5])} differ from the manifest; restore or train again"
        )
    try:
        spec = json.loads((folder / SPEC_NAME).read_text(encoding="utf-8"))
        view = ViewSpec(**spec["view"])
        network = _load_network(spec, factory, folder)
        classifier = wrap_network(network, spec, view, place)
        classifier = ask_films_finding(classifier, finding, classes)
    except (KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{folder}: {SPEC_NAME} is not usable ({error})") from error
    except InputContractError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    classifier.requires_grad_(requires_grad=False)
    # 1.2 to 1.8 times faster than the default layout on a CPU (`bench training`).
    classifier.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedModel(classifier.eval(), view, manifest)


def read_class_names(folder: Path, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Read the classes of a checkpoint, without its weights.

    Args:
        folder: The checkpoint.
        classes: Of the films, as for :func:`load_checkpoint`.

    Returns:
        Class names in index order.

    Raises:
        CheckpointError: If it is none, or damaged.
    """
    read_manifest(folder, kind=KIND)
    try:
        spec = json.loads((folder / SPEC_NAME).read_text(encoding="utf-8"))
        names = tuple(str(name) for name in spec["class_names"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{folder}: {SPEC_NAME} is not usable ({error})") from error
    return (find_asked(names, None, classes) if spec.get("multi_label") else None) or names


def read_training_seed(folder: Path) -> int | None:
    """Return the seed that a checkpoint was trained with; None for imported weights."""
    seed = read_manifest(folder, kind=KIND)["facts"].get("seed")
    return None if seed is None else int(seed)


def hash_weights(classifier: Classifier) -> str:
    """Return the SHA-256 of a classifier's weights and buffers, wherever it came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(classifier.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def load_classifier(folder: str | Path, *, device: str | torch.device = "cpu") -> Classifier:
    """Load the classifier of a checkpoint, in evaluation mode; see :func:`load_checkpoint`."""
    return load_checkpoint(Path(folder), device=device).classifier


def _load_network(spec: Mapping[str, Any], factory: Factory | None, folder: Path) -> nn.Module:
    kind = spec.get("kind", "weights")
    if kind == "function":
        if factory is None:
            raise CheckpointError(
                f"{folder}: is a black box, a function of your own; name it, e.g. --factory"
                " my_package.models:predict"
            )
        network = wrap_function(factory).network
        network.batch = spec.get("batch")
        return network
    if kind not in KINDS:
        raise CheckpointError(
            f"{folder}: is a network of kind {kind!r}; this covid_debug knows {', '.join(KINDS)};"
            " update it"
        )
    if kind != "weights":
        network = open_program(folder / Path(spec["file"]).name, kind).network
        network.batch = spec.get("batch", network.batch)
        return network
    built = build_network(spec, factory, folder)
    fill_network(built, read_state(folder / WEIGHTS_NAME), str(folder))
    return built


def build_network(spec: Mapping[str, Any], factory: Factory | None, where: Path) -> nn.Module:
    """Build the network that a specification names, by a factory where it is the user's own.

    Args:
        spec: Content of ``checkpoint.json``.
        factory: Of the user's own.
        where: Origin of the weights, for messages.

    Returns:
        The network with the weights that it was made with.

    Raises:
        CheckpointError: If there is no factory, it raises, or it returns no network.
    """
    if spec["arch"] != OWN_ARCH:
        return build_backbone(
            spec["arch"],
            spec.get("n_outputs", len(spec["class_names"])),
            spec["channels"],
            **spec["arch_params"],
        )
    if factory is None:
        raise CheckpointError(
            f"{where}: holds weights of a network that is not in the catalogue; name the function"
            " that builds it, e.g. factory 'my_package.models:build'"
        )
    try:
        network = factory()
    except Exception as error:  # a user's function may raise anything
        name = f"{factory.__module__}:{getattr(factory, '__qualname__', factory)}"
        raise CheckpointError(
            f"{where}: the factory {name} raised {one_line(error)}; call it by itself to see where"
        ) from error
    if not isinstance(network, nn.Module):
        raise CheckpointError(
            f"{where}: the factory returned a {type(network).__name__}; expected a torch module"
        )
    if any(map(nn.parameter.is_lazy, itertools.chain(network.parameters(), network.buffers()))):
        raise CheckpointError(
            f"{where}: the factory's network has lazy layers without a size; call it on images of"
            " its size in the factory, once"
        )
    return network

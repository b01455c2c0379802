"""Reading weights from files that cannot run code.

Only safetensors and plain tensor archives (``torch.load(weights_only=True)``) are opened; which
network the tensors belong to is the caller's knowledge.
"""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covid_debug.errors import CheckpointError

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Under which names training scripts keep the weights beside other things."""
_REMEDY = (
    "save the weights alone, without pickled objects:"
    " safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
)


def read_state(path: Path) -> State:
    """Read the tensors of a ``.safetensors`` file or of a plain ``.pt``/``.pth`` state dict.

    A ``"state_dict"``, ``"model_state_dict"``, ``"model"`` or ``"net"`` entry is opened, and the
    ``"module."`` prefix of a data-parallel model is removed.

    Args:
        path: Local file.

    Returns:
        Parameter name -> tensor on the CPU.

    Raises:
        CheckpointError: If the file is missing, holds pickled objects, or holds no tensors.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such weights file; give a local file, weights are never downloaded"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path}: is not a readable safetensors file ({error})"
            ) from error
    content = _load_tensors_only(path)
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if _is_state(content.get(key))), content)
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not weights; {_REMEDY}")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds more than named tensors; {_REMEDY}")
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(prefix): value for name, value in content.items()}


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _load_tensors_only(path: Path) -> Any:  # noqa: ANN401
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about archives that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _looks_like_pickle(path):
            raise CheckpointError(f"{path}: is not a readable weights file; {_REMEDY}") from error
        raise CheckpointError(
            f"{path}: is a pickle with objects other than tensors, and loading it could run any"
            f" code that it contains; refused; {_REMEDY}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path}: is not a readable weights file; {_REMEDY}") from error


def _looks_like_pickle(path: Path) -> bool:
    """Return whether a file is a pickle of protocol 2 or later, or torch's archive of one."""
    with path.open("rb") as stream:
        return stream.read(2) in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}


def fill_network(network: nn.Module, state: State, where: str) -> None:
    """Copy weights into a network whose every tensor must be named and fit.

    Args:
        network: Changed in place.
        state: Parameter and buffer name -> tensor.
        where: Origin of the weights, for messages.

    Raises:
        CheckpointError: If a tensor is missing, unexpected or of another shape.
    """
    expected = network.state_dict()
    missing = sorted(set(expected) - set(state))
    surplus = sorted(set(state) - set(expected))
    # Counters of BatchNorm are absent from old files and have no effect on the output.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    misfits = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(state))
        if state[name].shape != expected[name].shape
    ]
    problems = [
        f"{len(names)} {kind} (e.g. {', '.join(names[:3])})"
        for kind, names in (
            ("tensors missing", missing),
            ("unexpected tensors", surplus),
            ("tensors of another shape", misfits),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{where}: the weights do not fit the network: {'; '.join(problems)};"
            " use the architecture and parameters that they were trained with"
        )
    network.load_state_dict(state, strict=False)


def one_line(error: Exception) -> str:
    """Return an error's name and text without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

"""Reading weights from files that cannot run code, and pickles that their user trusts.

Safetensors and plain tensor archives (``torch.load(weights_only=True)``) are opened for anybody;
which network the tensors belong to is the caller's knowledge.
"""

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covid_debug.errors import CheckpointError
from covid_debug.models.trust import is_trusted

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Under which names training scripts keep the weights beside other things."""
_REMEDY = (
    "save the weights alone, without pickled objects:"
    " safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
)


def read_state(path: Path) -> State:
    """Read the tensors of a ``.safetensors`` file or of a plain ``.pt``/``.pth`` state dict.

    A ``"state_dict"``, ``"model_state_dict"``, ``"model"`` or ``"net"`` entry is opened, or the
    only one that holds nothing but tensors, and the ``"module."`` prefix of a data-parallel model
    is removed. A pickle with other objects is read where its user trusts it (:mod:`.trust`).

    Args:
        path: Local file.

    Returns:
        Parameter name -> tensor on the CPU.

    Raises:
        CheckpointError: If the file is missing, holds pickled objects, or holds no tensors.
    """
    content = read_weights(path)
    return content.state_dict() if isinstance(content, nn.Module) else content


def read_weights(path: Path) -> State | nn.Module:
    """Read weights as :func:`read_state` does, or the whole network of a pickle that is trusted.

    Args:
        path: Local file.

    Returns:
        Parameter name -> tensor, or the network; on the CPU.

    Raises:
        CheckpointError: As there.
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
    content = _load_tensors(path)
    if isinstance(content, dict):
        content = _open_wrapper(content)
    if isinstance(content, nn.Module):
        return content
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not weights; {_REMEDY}")
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(
            f"{path}: holds more than named tensors ({', '.join(map(repr, others[:5]))}); {_REMEDY}"
        )
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(prefix): value for name, value in content.items()}


def _open_wrapper(content: dict[Any, Any]) -> Any:  # noqa: ANN401
    """Return the network or the tensors that lie among other things."""
    for key in WRAPPERS:
        found = content.get(key)
        if isinstance(found, nn.Module) or (isinstance(found, dict) and found):
            return found
    states = [value for value in content.values() if _is_state(value)]
    return states[0] if len(states) == 1 else content


def _is_state(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(one, Tensor) for one in value.values())
    )


def _load_tensors(path: Path) -> Any:  # noqa: ANN401
    """Return what a file of torch holds; objects other than tensors only where it is trusted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about archives that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _looks_like_pickle(path):
            raise CheckpointError(f"{path}: is not a readable weights file; {_REMEDY}") from error
        content = path.read_bytes()
        if is_trusted(hashlib.sha256(content).hexdigest()):
            return _load_trusted(path, content)
        raise CheckpointError(
            f"{path}: is a pickle with objects other than tensors, and loading it could run any"
            f" code that it contains; refused; {_REMEDY}; or, if you know where it comes from,"
            " covid-debug model import --trust"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path}: is not a readable weights file; {_REMEDY}") from error


def _load_trusted(path: Path, content: bytes) -> Any:  # noqa: ANN401
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch tells of classes whose source has changed
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its pickle asks for code that is not here ({one_line(error)}); put the folder"
            " of the model's own modules on PYTHONPATH, or install its package"
        ) from error
    except Exception as error:  # a pickle may raise anything
        raise CheckpointError(f"{path}: cannot be unpickled ({one_line(error)})") from error


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
    """Return an error's name and text without line breaks; of a TorchScript trace its last line."""
    text = str(error)
    if "TorchScript interpreter" in text:
        return text.strip().splitlines()[-1][:300]
    return " ".join(f"{type(error).__name__}: {text}".split())[:300]

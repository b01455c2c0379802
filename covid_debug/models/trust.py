"""Model files that their user said to trust, by content.

``torch.export.load`` unpickles, evaluates text and loads compiled libraries of its file, so that a
``.pt2`` is a program that can do anything, as a pickle is. Trust belongs to a user and not to a
folder: what a checkpoint says of itself proves nothing.
"""

import hashlib
from pathlib import Path

from covid_debug.errors import CheckpointError, InputContractError


def _find_list() -> Path:
    return Path.home() / ".config" / "covid_debug" / "trusted-models.txt"


def trust_file(path: Path) -> None:
    """Trust a model file, and every copy of it, on this machine from now on.

    Args:
        path: The file.

    Raises:
        InputContractError: If it is no file, or the list of this user cannot be written.
    """
    if not path.is_file():
        raise InputContractError(f"--trust: {path} is no file; name the model file")
    digest, trusted = hashlib.sha256(path.read_bytes()).hexdigest(), _find_list()
    try:
        trusted.parent.mkdir(parents=True, exist_ok=True)
        if not is_trusted(digest):
            with trusted.open("a", encoding="utf-8") as stream:
                stream.write(f"{digest}  {path.name!r}\n")
    except OSError as error:
        raise InputContractError(
            f"--trust: {trusted} cannot be written ({error.strerror}); set HOME to your own folder"
        ) from error


def is_trusted(digest: str) -> bool:
    """Say whether a file of this SHA-256 was trusted by this user on this machine."""
    trusted = _find_list()
    if not trusted.is_file():
        return False
    return any(line.split()[:1] == [digest] for line in trusted.read_text("utf-8").splitlines())


def check_trusted(path: Path, digest: str) -> None:
    """Refuse a program that could run code while it is read, unless it is trusted.

    Args:
        path: For the message.
        digest: SHA-256 of its content.

    Raises:
        CheckpointError: If it is not.
    """
    if not is_trusted(digest):
        raise CheckpointError(
            f"{path}: reading a torch.export file can run code that it holds; refused; if you know"
            " where it comes from, covid-debug model import --trust (once on every machine); else"
            " export it to ONNX, or save the weights alone (state_dict, safetensors)"
        )

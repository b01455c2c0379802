"""Torch devices by name: refused before anything is computed, and described for manifests."""

import torch

from covid_debug.artifacts import describe_processor
from covid_debug.errors import ConfigError


def find_device(name: str, *, where: str = "device") -> torch.device:
    """Return the device of this name.

    Args:
        name: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; never changed silently.
        where: What names it, for the message, e.g. ``"compute.device"``.

    Returns:
        The device; it is there.

    Raises:
        ConfigError: If the name is none of these, or this machine has no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"{where} is {name!r}; expected cpu, cuda or cuda:NUMBER")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{where} is {name!r} and torch sees {torch.cuda.device_count()} CUDA devices; use cpu,"
            " or install a driver and a CUDA build of torch"
        )
    return device


def describe_device(device: torch.device | str) -> str:
    """Return a device for a manifest, e.g. ``"cuda (NVIDIA H200)"``."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return describe_processor()

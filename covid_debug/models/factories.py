"""Functions of the user, by name: found, and known by the code that decides what they answer."""

import hashlib
import importlib
import importlib.util
import sysconfig
from collections.abc import Callable
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from covid_debug.artifacts import hash_file
from covid_debug.errors import ConfigError, suggest
from covid_debug.models.weights import one_line

Factory = Callable[..., Any]
"""Builds a network from nothing, or is the function that a black box calls."""


def describe_factory(spec: str | None) -> dict[str, str]:
    """Return what a factory or function adds to the parameters of a stage that asks it.

    Args:
        spec: As for :func:`load_factory`; None where there is none.

    Returns:
        Its name, and the SHA-256 of its code: of its module's file, and of the files beside it
        that this imports, at any depth. Installed packages are no part of it.
    """
    if spec is None:
        return {}
    name = spec.partition(":")[0]
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        found = None  # load_factory says why
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return {"factory": spec}
    own = Path(found.origin)
    files = [own, *(file for file in _find_imported(name, own) if file != own)]
    digests = [hash_file(file) for file in files]
    code = digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return {"factory": spec, "code": code}


def _find_imported(name: str, own: Path) -> list[Path]:
    """Follow a module's imports from where its top package lies, running nothing."""
    root = own.parents[name.count(".") + (own.name == "__init__.py")]
    installed = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    if any(root.is_relative_to(place) for place in installed):
        return []
    finder = ModuleFinder(path=[str(root)], excludes=["covid_debug"])
    try:
        finder.import_hook(name)
    except (ImportError, SyntaxError, ValueError):
        return []  # load_factory says why
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return sorted(Path(file) for file in files if file)


def load_factory(spec: str) -> Factory:
    """Find the function that builds a user's own network.

    The name comes from the user's command line or configuration, never from a checkpoint, because
    importing it runs its module.

    Args:
        spec: ``"package.module:function"``; the function takes no arguments and returns a module.

    Returns:
        The function.

    Raises:
        ConfigError: If the module or the function cannot be found.
    """
    module_name, sign, function_name = spec.partition(":")
    if not sign or not module_name or not function_name:
        raise ConfigError(f"factory {spec!r}: expected 'package.module:function'")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"factory {spec!r}: {module_name} cannot be imported ({error});"
            " put its folder on PYTHONPATH"
        ) from error
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(
            f"factory {spec!r}: {module_name} cannot be imported ({one_line(error)})"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(
            f"factory {spec!r}: {module_name} has no function {function_name!r}"
            f"{suggest(function_name, dir(module))}"
        )
    factory: Factory = function
    return factory

"""Read a YAML file, apply overrides, and build a validated :class:`RunConfig`.

Collects every problem before it complains. Knows nothing about what the values do.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from covid_debug.config.schema import RunConfig
from covid_debug.errors import ConfigError, CovidDebugError, suggest
from covid_debug.yaml_files import parse_yaml, read_yaml


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file.

    Args:
        path: YAML file.
        overrides: ``"section.key=value"`` texts that win over the file; values are YAML.

    Returns:
        The validated configuration; paths in it stay relative to the working directory.

    Raises:
        ConfigError: Listing every unknown key (with the closest known one) and every wrong value;
            or naming a key that stands twice.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of sections, found {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    return build_config(tree, where=str(path))


def build_config(tree: Mapping[str, Any], *, where: str) -> RunConfig:
    """Turn nested mappings into a :class:`RunConfig`.

    Args:
        tree: Sections as read from YAML.
        where: Name of the origin, for messages.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: See :func:`load_config`.
    """
    problems = [*_unknown_keys(RunConfig, tree, ""), *_infinite_numbers(tree, "")]
    try:
        config = TypeAdapter(RunConfig).validate_python(_pruned(RunConfig, tree))
    except ValidationError as error:
        problems += [_describe(item) for item in error.errors()]
    except CovidDebugError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError(f"{where}: " + "; ".join(problems))
    return config


def _describe(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{place} is missing"
    return f"{place} = {item['input']!r}: {message[:1].lower()}{message[1:]}"


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {override!r}: expected KEY=VALUE, e.g. training.n_epochs=5")
    *sections, last = key.strip().split(".")
    place = tree
    for section in sections:
        child = place.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {section} is a value, not a section")
        place = child
    place[last] = parse_yaml(text, f"--set {override!r}, its value")


def _dataclass_of(annotation: Any, value: object) -> type | None:  # noqa: ANN401
    """Return the dataclass that a mapping at this annotation describes, if any."""
    if dataclasses.is_dataclass(annotation):
        return annotation if isinstance(annotation, type) else None
    if typing.get_origin(annotation) in {typing.Union, types.UnionType, typing.Annotated}:
        candidates = [_dataclass_of(part, value) for part in typing.get_args(annotation)]
        found = [candidate for candidate in candidates if candidate is not None]
        kind = value.get("kind") if isinstance(value, Mapping) else None
        for candidate in found:
            if typing.get_type_hints(candidate).get("kind") == typing.Literal[kind]:
                return candidate
        return found[0] if len(found) == 1 else None
    return None


def _children(cls: type, tree: Mapping[str, Any]) -> Iterator[tuple[str, type, Mapping[str, Any]]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    for name, value in tree.items():
        if isinstance(value, Mapping) and (child := _dataclass_of(hints.get(name), value)):
            yield name, child, value


def _unknown_keys(cls: type, tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    known = [item.name for item in dataclasses.fields(cls)]
    for name in tree:
        if name not in known:
            yield (
                f"{prefix}{name} is not a field of {cls.__name__}{suggest(str(name), known)}"
                f" (known: {', '.join(known)})"
            )
    for name, child, value in _children(cls, tree):
        yield from _unknown_keys(child, value, f"{prefix}{name}.")


def _infinite_numbers(value: object, place: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}; expected a finite number"
    parts = enumerate(value) if isinstance(value, list) else ()
    for name, part in value.items() if isinstance(value, Mapping) else parts:
        yield from _infinite_numbers(part, f"{place}.{name}".lstrip("."))


def _pruned(cls: type, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Drop unknown keys, already reported, so that the rest can still be checked."""
    known = {item.name for item in dataclasses.fields(cls)}
    result = {name: value for name, value in tree.items() if name in known}
    for name, child, value in _children(cls, result):
        result[name] = _pruned(child, value)
    return result

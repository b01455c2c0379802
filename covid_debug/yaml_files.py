"""YAML that somebody wrote by hand, or that somebody sent: read whole, within bounds.

Owns what is refused before anything is made of a file. What the values mean is its reader's matter.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from covid_debug.errors import ConfigError

_MAX_CHARACTERS: Final = 1_000_000
_MAX_DEPTH: Final = 40
_MAX_NODES: Final = 50_000
# What values raise that are not what they say they are, such as `!!int x`.
_WRONG_VALUES: Final = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """Read a YAML file.

    Args:
        path: The file, UTF-8.

    Returns:
        The content of its one document; None where it is empty.

    Raises:
        ConfigError: If it cannot be read, see also :func:`parse_yaml`.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not valid YAML ({error})") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401
    """Read YAML, but refuse a repeated key, of which YAML itself would keep the last one.

    Args:
        text: One document.
        where: Name of the origin, for messages.

    Returns:
        The content; None where there is none.

    Raises:
        ConfigError: If it is no YAML, is larger than any configuration (references count as what
            they stand for), or naming the key that stands twice and its lines.
    """
    loader = yaml.SafeLoader("")
    try:
        _check_size(text, where)
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        for key, again in _repeated_keys(root):
            raise ConfigError(
                f"{where}:{again.start_mark.line + 1}: the key {key.value!r} stands there again,"
                f" first in line {key.start_mark.line + 1}; keep one"
            )
        return None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, *_WRONG_VALUES) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where}: is not valid YAML ({reason})") from error
    finally:
        loader.dispose()


def _check_size(text: str, where: str) -> None:
    """Count what there will be, without making it."""
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(f"{where}: is longer than {_MAX_CHARACTERS} characters; shorten it")
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    n_nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise ConfigError(
                    f"{where}: *{event.anchor} stands within itself; write out what is meant"
                )
            n_nodes += sizes.get(str(event.anchor), 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            n_nodes += 1
            open_nodes.append((event.anchor, n_nodes - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, n_before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = n_nodes - n_before
        elif isinstance(event, yaml.ScalarEvent):
            n_nodes += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_nodes) > _MAX_DEPTH:
            raise ConfigError(f"{where}: holds more than {_MAX_DEPTH} levels; flatten it")
        if n_nodes > _MAX_NODES:
            raise ConfigError(
                f"{where}: holds more than {_MAX_NODES} values, each reference counted as what it"
                " stands for; shorten it"
            )


def _repeated_keys(root: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
                yield first[key.value], key
            waiting.append(value)

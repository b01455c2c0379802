"""Name -> class tables with helpful errors.

Every family of interchangeable parts (explainers, detectors, backbones, sources) keeps one
``Catalog``; nothing is registered by import side effects.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from covid_debug.errors import CatalogError, ConfigError, suggest

T = TypeVar("T")


class Catalog(Mapping[str, T], Generic[T]):
    """A read-only mapping whose missing key names the family and the closest known name."""

    def __init__(self, family: str, entries: Mapping[str, T]) -> None:
        """Keep the entries.

        Args:
            family: Where the names live, for messages, e.g. ``"saliency.catalog"``.
            entries: Name -> entry.
        """
        self._family = family
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        """Look a name up.

        Returns:
            The entry.

        Raises:
            CatalogError: If the name is unknown; the message lists the known ones.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise CatalogError(
                f"{self._family}: unknown name {name!r}{suggest(name, self._entries)}"
                f" (known: {', '.join(sorted(self._entries))})"
            ) from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of registration."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)


def check_fields(names: Iterable[str], params: type, where: str) -> None:
    """Check that parameters given by name are fields of a dataclass.

    Raises:
        ConfigError: If one is not; the message names the closest one.
    """
    known = [item.name for item in dataclasses.fields(params)]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{where}: {name!r} is not a field of {params.__name__}{suggest(name, known)}"
                f" (known: {', '.join(known)})"
            )

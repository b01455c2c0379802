"""What the regions of a film say: their characters, and the kind that these make them.

Joins the second reader (:mod:`covid_debug.text.recognition`) and the patterns
(:mod:`covid_debug.text.kinds`); owns neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covid_debug.imaging.regions import read_regions
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.text.kinds import Kinds, load_kinds
from covid_debug.text.recognition import Reader
from covid_debug.text.screening import Gray


@dataclass(frozen=True, slots=True)
class ContentReader:
    """Says what regions say.

    Attributes:
        kinds: The patterns.
        reader: The second reader; None leaves the content as the detector gave it.
    """

    kinds: Kinds
    reader: Reader | None

    @property
    def params(self) -> tuple[object, ...]:
        """Return what decides the answers."""
        return (self.kinds, None if self.reader is None else self.reader.params)

    def complete(self, regions: Sequence[TextRegion], image: Gray) -> tuple[TextRegion, ...]:
        """Return the regions of one film with content, where legible, and kind.

        Args:
            regions: What a detector found.
            image: The film, uint8 ``(H, W)`` in [0, 255].
        """
        height, width = image.shape
        read = tuple(regions) if self.reader is None else self.reader.fill_in(regions, image)
        return self.kinds.tell_all(read, width, height)

    def name_kinds(self, films: Mapping[str, FilmRegions]) -> dict[str, FilmRegions]:
        """Return films with the kinds of what was read but not named, as in older files.

        Args:
            films: Regions by film; a film of which any kind is known is left as it is.
        """
        return {
            image: film
            if any(region.kind != "unknown" for region in film.regions)
            else replace(film, regions=self.kinds.tell_all(film.regions, film.width, film.height))
            for image, film in films.items()
        }


def build_content_reader(*, read_content: bool = True, kinds: Path | None = None) -> ContentReader:
    """Build what says what regions say; the network is loaded on first use.

    Args:
        read_content: Whether the characters are read; if not, only what a detector read itself
            has a kind.
        kinds: A user's own patterns, see :func:`covid_debug.text.kinds.load_kinds`.

    Returns:
        The reader of contents.

    Raises:
        ConfigError: If the patterns are refused.
    """
    return ContentReader(load_kinds(kinds), Reader() if read_content else None)


def read_named_regions(place: Path) -> dict[str, FilmRegions]:
    """Read text regions; where characters but no kinds are recorded, what they say names the kinds.

    Args:
        place: As for :func:`covid_debug.imaging.regions.read_regions`.

    Returns:
        Image id (or path) -> regions, in the order of the file.

    Raises:
        DataIntegrityError: As for :func:`covid_debug.imaging.regions.read_regions`.
    """
    return build_content_reader(read_content=False).name_kinds(read_regions(place))

"""What the regions of a film say: their characters, and the kind that these make them.

Joins the second reader (:mod:`covid_debug.text.recognition`) and the patterns
(:mod:`covid_debug.text.kinds`); owns neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from covid_debug.imaging.regions import read_regions
from covid_debug.records import FilmRegions, RegionKind, TextRegion
from covid_debug.text.kinds import Kinds, load_kinds
from covid_debug.text.recognition import Reader
from covid_debug.text.screening import Gray
from covid_debug.text.side_letters import split_side_letter

_DOUBTFUL: Final[frozenset[RegionKind]] = frozenset({"unknown", "panel"})


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
        if self.reader is None:
            return self.kinds.tell_all(regions, width, height)
        read = self.reader.fill_in(regions, image)
        told = self.kinds.tell_all(read, width, height)
        parts = [part for one in told for part in self._part(one, image, self.reader)]
        return told if tuple(parts) == told else self.kinds.tell_all(parts, width, height)

    def _part(self, region: TextRegion, image: Gray, reader: Reader) -> tuple[TextRegion, ...]:
        """Return a region whose side letter is taken out, where there is one, and the rest read."""
        if not _may_hold_side(region, image.shape[1]):
            return (region,)
        parts = split_side_letter(region, image, reader.recognise)
        if not parts:
            return (region,)
        letter, *rest = parts
        return (letter, *reader.fill_in(rest, image))

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


def _may_hold_side(region: TextRegion, width: int) -> bool:
    """Tell whether a side letter may be hidden in what was read: little, and no number."""
    x0, _, x1, _ = region.box
    is_panel = region.kind == "panel" and x0 + x1 <= width
    if not region.is_text or region.kind not in _DOUBTFUL or is_panel:
        return False
    found = [character for character in region.content or "" if character.isalnum()]
    has_digit = any(character.isdigit() for character in found)
    return len(found) <= (2 if has_digit else 3)


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

"""What a piece of text is, by what it says: the kinds of :data:`covid_debug.records.RegionKind`.

Owns the patterns (``kinds.yaml``), their checks, and the decision for a region. A pattern takes a
piece of the content between characters that are no letters and no digits; text with a rest that no
pattern takes is ``unknown``. So a name that nobody knows never passes for the word beside it.

**Letters that mean two things.** R and L are sides. D, E, I, G and S are sides in other languages
(derecha, destra, droite; esquerda, izquierda, gauche, sinistra), D, E and G letters of a figure's
panels too. Place and company decide, in this order:

1. a capital on the side where films show it (D in the left two fifths, the others in the right), or
   with a letter of the other side in the other half of the film: a side;
2. one of A to H alone in a corner of the film: a panel;
3. otherwise unknown.

Of 23 single D on the annotated films for choosing (``markers_dev``, ``markers_second_choose``) all
stand on the left and at most three are panels, which this takes for sides.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from covid_debug.errors import ConfigError
from covid_debug.records import RegionKind, TextRegion
from covid_debug.text.pattern_cost import count_ways
from covid_debug.yaml_files import read_yaml

PATTERNS_PATH: Final = Path(__file__).with_name("kinds.yaml")
MAX_CONTENT: Final = 120
_MAX_PATTERN: Final = 1500
_MAX_WAYS: Final = 13  # decimal logarithm
_ORDER: Final[tuple[RegionKind, ...]] = (
    "identity",
    "unknown",
    "date",
    "measurement",
    "position",
    "side_marker",
    "panel",
)
"""Of several kinds on one line the first counts: what says most about a person."""
_REPEATED_GROUP: Final = re.compile(r"(?<!\\)\)(?:[+*]|\{[0-9]*,\}|\{[0-9]{3,}|\{[0-9]*,[0-9]{2,})")
_SIDE_SHARE: Final = 0.4
_CORNER_SHARE: Final = 0.18
_ALONE_HEIGHTS: Final = 1.5
_RIGHT_LETTERS: Final = "D"
_LEFT_LETTERS: Final = "EIGS"
_PANEL_LETTERS: Final = "ABCDEFGH"

Place = Literal["anywhere", "side", "corner"]
Case = Annotated[str, Field(min_length=1, max_length=MAX_CONTENT)]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern with the cases that hold it to its meaning.

    Attributes:
        name: Names it in messages.
        kind: Kind of what it takes.
        pattern: Regular expression for upper case text; a group in it may not be repeated without
            an end, so that no content takes long.
        must_match: Contents of which it takes every letter and digit.
        must_not_match: Contents of which it does not.
        place: Where a single letter must stand, see this module.
    """

    name: str
    kind: RegionKind
    pattern: Annotated[str, Field(min_length=1, max_length=_MAX_PATTERN)]
    must_match: Annotated[tuple[Case, ...], Field(min_length=1)]
    must_not_match: Annotated[tuple[Case, ...], Field(min_length=1)]
    place: Place = "anywhere"


_PATTERNS: Final = TypeAdapter(tuple[Pattern, ...])


@dataclass(frozen=True, slots=True)
class Kinds:
    """Checked patterns in the order in which they are asked."""

    patterns: tuple[Pattern, ...]

    def tell(self, content: str | None, places: Sequence[Place] = ("anywhere",)) -> RegionKind:
        """Return the kind of what was read.

        Args:
            content: Characters; None where nothing could be read.
            places: Places for which a pattern may be asked here.

        Returns:
            The kind; ``"unknown"`` for nothing and for more than 120 characters.
        """
        rest = normalise(content or "")
        if not rest or len(rest) > MAX_CONTENT:
            return "unknown"
        found: set[RegionKind] = set()
        for pattern in self.patterns:
            if pattern.place not in places or (pattern.place != "anywhere" and found):
                continue
            rest, n_taken = _compile(pattern.pattern).subn(" | ", rest)
            if n_taken:
                found.add(pattern.kind)
        if _has_characters(rest) or not found:
            found.add("unknown")
        return min(found, key=_ORDER.index)

    def tell_all(
        self, regions: Sequence[TextRegion], width: int, height: int
    ) -> tuple[TextRegion, ...]:
        """Return the regions of one film with their kinds; annotations stay what they are.

        Args:
            regions: The film's regions, read where possible.
            width: Film width in pixels.
            height: Film height in pixels.
        """
        told = []
        for region in regions:
            if region.is_text:
                places = _places_of(region, regions, width, height)
                region = replace(region, kind=self.tell(region.content, places))  # noqa: PLW2901
            told.append(region)
        return tuple(told)


def load_kinds(path: Path | None = None) -> Kinds:
    """Read the patterns that come with the package, after a user's own.

    Args:
        path: File of a user in the form of ``kinds.yaml``; its patterns are asked first.

    Returns:
        The patterns.

    Raises:
        ConfigError: If the file cannot be read, or naming a pattern that is no regular expression,
            may take long, or fails one of its cases.
    """
    own = () if path is None else _read_patterns(path)
    return Kinds((*own, *_read_patterns(PATTERNS_PATH)))


def normalise(content: str) -> str:
    """Return content as patterns see it: upper case, single spaces, one form of each character."""
    return " ".join(unicodedata.normalize("NFC", content).upper().split())


@lru_cache(maxsize=8)
def _read_patterns(path: Path) -> tuple[Pattern, ...]:
    try:
        patterns: tuple[Pattern, ...] = _PATTERNS.validate_python(read_yaml(path))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in wrong["loc"])
        raise ConfigError(
            f"{path}: {place or 'the whole'}: {wrong['msg']}; expected a list of patterns with"
            " name, kind, pattern, must_match and must_not_match"
        ) from error
    for pattern in patterns:
        _check_pattern(pattern, path)
    return patterns


def _check_pattern(pattern: Pattern, path: Path) -> None:
    where = f"{path}: pattern {pattern.name!r}"
    if pattern.kind in {"unknown", "annotation"}:
        raise ConfigError(f"{where} is of kind {pattern.kind}; expected a kind of known text")
    if (group := _REPEATED_GROUP.search(pattern.pattern)) is not None:
        raise ConfigError(
            f"{where} repeats a group by {group.group()[1:]!r}, which can take hours on some text;"
            " expected at most a few times, such as {0,3}"
        )
    try:
        ways = count_ways(pattern.pattern)  # alone: it must not end the brackets around it
        _compile(pattern.pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"{where} is no regular expression ({error})") from error
    if ways > _MAX_WAYS:
        raise ConfigError(
            f"{where} can be tried in 10^{ways:.0f} ways, which can take hours on some text;"
            f" expected at most 10^{_MAX_WAYS}: fewer or shorter repetitions"
        )
    for case in pattern.must_match:
        if not _takes_all(pattern, case):
            raise ConfigError(f"{where} does not match {case!r}, which it must match")
    for case in pattern.must_not_match:
        if _takes_all(pattern, case):
            raise ConfigError(f"{where} matches {case!r}, which it must not match")


def _takes_all(pattern: Pattern, content: str) -> bool:
    rest, n_taken = _compile(pattern.pattern).subn(" | ", normalise(content))
    return n_taken > 0 and not _has_characters(rest)


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?:{pattern.strip()})(?![^\W_])")


def _has_characters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _places_of(
    region: TextRegion, others: Sequence[TextRegion], width: int, height: int
) -> tuple[Place, ...]:
    """Return which patterns for single letters are asked about a region."""
    letter = _letter_of(region)
    if letter is None:
        return ("anywhere",)
    side = _side_of(letter) if letter.isupper() else None
    middle = _middle_x(region) / width
    if side is not None:
        is_where_shown = middle < _SIDE_SHARE if side > 0 else middle > 1 - _SIDE_SHARE
        facing = [_letter_of(o) for o in others if (_middle_x(o) < width / 2) != (middle < 0.5)]
        if is_where_shown or any(one and _side_of(one) == -side for one in facing):
            return ("anywhere", "side")
    if letter.upper() in _PANEL_LETTERS and _is_in_corner(region, width, height):
        return ("anywhere", "corner") if _is_alone(region, others) else ("anywhere",)
    return ("anywhere",)


def _letter_of(region: TextRegion) -> str | None:
    letters = [one for one in region.content or "" if one.isalnum()]
    return letters[0] if len(letters) == 1 else None


def _side_of(letter: str) -> int | None:
    """Return 1 for a letter of the right side, which films show on the left, -1 for the other."""
    if letter.upper() in _RIGHT_LETTERS:
        return 1
    return -1 if letter.upper() in _LEFT_LETTERS else None


def _middle_x(region: TextRegion) -> float:
    return (region.box[0] + region.box[2]) / 2


def _is_in_corner(region: TextRegion, width: int, height: int) -> bool:
    x0, y0, x1, y1 = region.box
    near_x, near_y = _CORNER_SHARE * width, _CORNER_SHARE * height
    return min(x0, width - x1) < near_x and min(y0, height - y1) < near_y


def _is_alone(region: TextRegion, others: Sequence[TextRegion]) -> bool:
    x0, y0, x1, y1 = region.box
    reach = _ALONE_HEIGHTS * (y1 - y0)
    return not any(
        other is not region
        and other.box[0] < x1 + reach
        and other.box[2] > x0 - reach
        and other.box[1] < y1 + reach
        and other.box[3] > y0 - reach
        for other in others
    )

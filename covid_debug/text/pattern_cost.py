"""How long a regular expression may take: in how many ways it can be tried on one text.

Every repetition and every alternative is a choice, and a text that does not match may be tried with
all of them. The count here is never too low for one place of a text of up to 120 characters.
"""

import math
from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

_MAX_LENGTH: Final = 120
_MOST: Final = 1e6
_GROUPS: Final = frozenset({"SUBPATTERN", "ASSERT", "ASSERT_NOT", "ATOMIC_GROUP"})
_REPEATS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


def count_ways(pattern: str) -> float:
    """Return the decimal logarithm of the ways in which a pattern can be tried.

    Raises:
        re.error: If it is no regular expression.
        OverflowError: If it repeats something too often.
        RecursionError: If it is nested too deeply.
    """
    return _count(_parser.parse(pattern))


def _count(steps: Iterable[tuple[Any, Any]]) -> float:
    return min(sum(_count_step(str(kind), value) for kind, value in steps), _MOST)


def _count_step(kind: str, value: Any) -> float:  # noqa: ANN401  what the parser made
    if kind in _REPEATS:
        least, most, steps = value
        most = min(int(most), _MAX_LENGTH)
        ways = _count(steps)
        return _add(n_times * ways for n_times in range(min(int(least), most), most + 1))
    if kind == "BRANCH":
        return _add(_count(steps) for steps in value[1])
    if kind == "GROUPREF_EXISTS":
        return _add((_count(value[1]), _count(value[2] or ())))
    if kind in _GROUPS:
        return _count(value if kind == "ATOMIC_GROUP" else value[-1])
    return 0.0


def _add(logarithms: Iterable[float]) -> float:
    values = list(logarithms)
    most = max(values)
    return most + math.log10(sum(10 ** (value - most) for value in values))

"""Checks of parameters that end in one line: which parameter, its value, what was expected."""

import dataclasses
import math
import numbers
from typing import Any, Literal, get_args, get_origin, get_type_hints

from covid_debug.errors import InputContractError


def check_range(params: object, interval: str, *names: str, where: str = "") -> None:
    """Check that parameters are numbers in an interval; of several each, None where it may be.

    A field that is annotated with ``int`` and not with ``float`` takes whole numbers alone.

    Args:
        params: Holds the parameters.
        interval: Such as ``"(0, 1]"`` or ``"[1, inf)"``; a round bracket leaves its end out.
        names: The parameters.
        where: What the message starts with; empty for the class of ``params``.

    Raises:
        InputContractError: If one is no such number, lies outside or is NaN.
    """
    hints = get_type_hints(type(params))
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name in names:
        value, kinds = getattr(params, name), list_kinds(hints[name])
        if value is None and type(None) in kinds:
            continue
        values = value if isinstance(value, tuple | list) and tuple in kinds else (value,)
        is_count = int in kinds and float not in kinds
        kind = numbers.Integral if is_count else numbers.Real
        if not all(isinstance(x, kind) and not isinstance(x, bool) for x in values):
            raise InputContractError(
                f"{where or type(params).__name__}: {name} is {value!r}; expected"
                f" {'a whole number' if is_count else 'a number'}"
            )
        is_above = all(x > low if interval[0] == "(" else x >= low for x in values)
        is_below = all(x < high if interval[-1] == ")" else x <= high for x in values)
        if not (is_above and is_below):
            expected = f"in {interval}"
            if math.isinf(high):
                expected = f"above {low:g}" if interval[0] == "(" else f"{low:g} or more"
            raise InputContractError(
                f"{where or type(params).__name__}: {name} is {value}; expected {expected}"
            )


def check_choices(params: Any, where: str = "") -> None:  # noqa: ANN401 - any dataclass
    """Check every field that is annotated with a ``Literal``.

    Args:
        params: A dataclass.
        where: What the message starts with; empty for the class of ``params``.

    Raises:
        InputContractError: If a value is none of the choices.
    """
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        choices = get_args(field.type) if get_origin(field.type) is Literal else (value,)
        if value not in choices:
            raise InputContractError(
                f"{where or type(params).__name__}: {field.name} is {value!r};"
                f" expected one of {choices}"
            )


def list_kinds(hint: object) -> set[object]:
    """Return what an annotation is made of: of ``int | tuple[int, ...]`` int and tuple, too."""
    kinds: set[object] = {hint, get_origin(hint)}
    return kinds.union(*map(list_kinds, get_args(hint)))

"""Checks of parameters that end in one line: which parameter, its value, what was expected."""

import dataclasses
import math
from typing import Any, Literal, get_args, get_origin

from covid_debug.errors import InputContractError


def check_range(params: object, interval: str, *names: str, where: str = "") -> None:
    """Check that parameters lie in an interval; of several numbers each, and None passes.

    Args:
        params: Holds the parameters.
        interval: Such as ``"(0, 1]"`` or ``"[1, inf)"``; a round bracket leaves its end out.
        names: The parameters.
        where: What the message starts with; empty for the class of ``params``.

    Raises:
        InputContractError: If one lies outside or is NaN.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name in names:
        value = getattr(params, name)
        if value is None:
            continue
        numbers = value if isinstance(value, tuple | list) else (value,)
        is_above = all(x > low if interval[0] == "(" else x >= low for x in numbers)
        is_below = all(x < high if interval[-1] == ")" else x <= high for x in numbers)
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

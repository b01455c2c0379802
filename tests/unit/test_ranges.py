import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.ranges import check_choices, check_range


@dataclass
class Params:
    share: float = 0.5
    count: int | None = None
    kind: Literal["a", "b"] = "a"
    sides: int | tuple[int, int] = 1


@pytest.mark.parametrize(
    ("interval", "value", "expected"),
    [
        ("(0, 1]", 0, r"Params: share is 0; expected in \(0, 1\]"),
        ("(0, 1]", 1.1, "expected in"),
        ("[0, 1)", 1, "expected in"),
        ("[2, inf)", 1, "expected 2 or more"),
        ("(0, inf)", 0, "expected above 0"),
        ("(0, inf)", math.nan, "share is nan"),
    ],
)
def test_value_outside_its_interval_is_one_line(interval, value, expected):
    with pytest.raises(InputContractError, match=expected):
        check_range(Params(share=value), interval, "count", "share")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 2.5, "count is 2.5; expected a whole number"),
        ("count", math.inf, "count is inf; expected a whole number"),
        ("count", True, "count is True; expected a whole number"),
        ("count", [2], r"count is \[2\]; expected a whole number"),
        ("sides", (2, 2.5), r"sides is \(2, 2.5\); expected a whole number"),
        ("sides", None, "sides is None; expected a whole number"),
        ("share", "0.5", "share is '0.5'; expected a number"),
        ("share", None, "share is None; expected a number"),
        ("share", [0.5], r"share is \[0.5\]; expected a number"),
    ],
)
def test_a_value_that_is_no_such_number_is_one_line(name, value, expected):
    with pytest.raises(InputContractError, match=expected):
        check_range(Params(**{name: value}), "[0, inf)", name)


def test_numbers_of_numpy_and_whole_numbers_for_shares_pass():
    check_range(
        Params(share=1, count=np.int64(2), sides=(2, 3)), "[0, inf)", "share", "count", "sides"
    )
    check_range(Params(share=np.float32(1)), "[0, inf)", "share")


def test_ends_that_belong_to_the_interval_pass():
    check_range(Params(share=0, count=1), "[0, 1]", "share", "count")


def test_value_that_is_no_choice_names_them():
    check_choices(Params())
    with pytest.raises(InputContractError, match=r"x: kind is 'c'; expected one of \('a', 'b'\)"):
        check_choices(Params(kind="c"), "x")

import math
from dataclasses import dataclass
from typing import Literal

import pytest

from covid_debug.errors import InputContractError
from covid_debug.ranges import check_choices, check_range


@dataclass
class Params:
    share: float = 0.5
    count: int | None = None
    kind: Literal["a", "b"] = "a"


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


def test_ends_that_belong_to_the_interval_pass():
    check_range(Params(share=0, count=1), "[0, 1]", "share", "count")


def test_value_that_is_no_choice_names_them():
    check_choices(Params())
    with pytest.raises(InputContractError, match=r"x: kind is 'c'; expected one of \('a', 'b'\)"):
        check_choices(Params(kind="c"), "x")

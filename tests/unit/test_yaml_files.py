"""YAML that was made to do harm is one line, at once."""

from pathlib import Path

import pytest

from covid_debug.errors import ConfigError
from covid_debug.yaml_files import parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "b0: &b0 {k: 1}\n" + "".join(
    f"b{i + 1}: &b{i + 1} {{<<: [*b{i}, *b{i}]}}\n" for i in range(30)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "holds more than 50000 values"),
        (MERGES, "holds more than 50000 values"),
        ("a: &a [*a]", r"\*a stands within itself"),
        ("a: &a {b: *a}", r"\*a stands within itself"),
        ("[" * 5000 + "]" * 5000, "holds more than 40 levels"),
        ("a: " + "{a: " * 3000 + "1" + "}" * 3000, "holds more than 40 levels"),
        ("a: " + "x" * 1_000_001, "is longer than 1000000 characters"),
        ("a: " + "9" * 5000, "is not valid YAML"),
        ("a: 2001-99-99", "is not valid YAML"),
        ("a: !!int ''", "is not valid YAML"),
        ("a: !!int x", "is not valid YAML"),
        ("a: !!timestamp x", "is not valid YAML"),
        ("a: !!bool x", "is not valid YAML"),
        ("a: !!float ''", "is not valid YAML"),
        ("a: !!binary \u00e9", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [x]", "is not valid YAML"),
        ("a: \0", "is not valid YAML"),
        ("? [a, b]\n: 1", "is not valid YAML"),
        ("a: *b", "is not valid YAML"),
        ("a: 1\n---\nb: 1", "is not valid YAML"),
    ],
)
def test_harm_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: {message}") as caught:
        parse_yaml(text, "here")
    assert "\n" not in str(caught.value)


def test_anchors_within_bounds_are_what_they_stand_for() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: {c: *a}\nd: {<<: {e: 1}}", "here") == {
        "a": [1, 2],
        "b": {"c": [1, 2]},
        "d": {"e": 1},
    }


def test_a_file_without_end_is_read_to_the_bound() -> None:
    with pytest.raises(ConfigError, match=r"^/dev/zero: is longer than 1000000 characters"):
        read_yaml(Path("/dev/zero"))

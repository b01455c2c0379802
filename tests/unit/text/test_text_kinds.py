"""What content says: the shipped patterns keep to their cases, a user's are checked."""

import time

import pytest
import yaml

from covid_debug.errors import ConfigError
from covid_debug.records import REGION_KINDS, TextRegion
from covid_debug.text.kinds import MAX_CONTENT, PATTERNS_PATH, Kinds, load_kinds

PATTERNS = yaml.safe_load(PATTERNS_PATH.read_text(encoding="utf-8"))
OWN = {
    "name": "ward",
    "kind": "position",
    "pattern": "WARD [0-9]{1,2}",
    "must_match": ["Ward 7"],
    "must_not_match": ["WARDEN"],
}


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    return load_kinds()


def letter(content: str | None, x: float, y: float, kind: str = "unknown") -> TextRegion:
    """A letter on a film of 400 by 500 pixels."""
    return TextRegion(
        ((x, y), (x + 15, y), (x + 15, y + 20), (x, y + 20)), 0.9, content, "test", kind
    )


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern["name"])
def test_shipped_pattern_has_dozens_of_cases_that_hold(pattern):
    # That they hold is checked when the file is read; here, that there are enough of them.
    assert len(pattern["must_match"]) >= 10
    assert len(pattern["must_not_match"]) >= 10
    assert any(one.name == pattern["name"] for one in load_kinds().patterns)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern["name"])
def test_contents_of_a_pattern_are_of_its_kind_among_all_patterns(kinds, pattern):
    told = [kinds.tell(case, (pattern.get("place", "anywhere"),)) for case in pattern["must_match"]]
    if pattern.get("place", "anywhere") != "anywhere":
        return  # "R" and the like are asked first
    more_personal = {"identity", "date"} if pattern["kind"] != "identity" else {"identity"}
    wrong = [
        (case, kind)
        for case, kind in zip(pattern["must_match"], told, strict=True)
        if kind not in {pattern["kind"], *more_personal}
    ]
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("R", "side_marker"),
        (" (l) ", "side_marker"),
        ("Izq.", "side_marker"),
        ("LINKS", "side_marker"),
        ("PORTABLE AP SUPINE", "position"),
        ("85 kV 2.5 mAs", "position"),
        ("R AP", "position"),
        ("SUPINE, AP", "position"),
        ("Dx", "side_marker"),
        ("SMITH, JOHN", "identity"),
        ("W2108:L2723", "measurement"),
        ("2:30 PM PORTABLE", "date"),
        ("AP SUPINE 12/03/2020", "date"),
        ("SMITH, JOHN 12/03/2020", "identity"),
        ("DOB 12/03/1960", "identity"),
        ("R 1234567", "identity"),
        ("W: 4096 C: 2048", "measurement"),
        ("12.3 mm", "measurement"),
        ("Fig. 2b", "panel"),
        ("PORTABLE SMITH", "unknown"),
        ("AP J", "unknown"),
        ("R X", "unknown"),
        ("", "unknown"),
        ("...", "unknown"),
        (None, "unknown"),
        ("7", "unknown"),
        ("A" * (MAX_CONTENT + 1), "unknown"),
        ("AP " * 60, "unknown"),
    ],
)
def test_line_is_of_the_kind_that_says_most_about_a_person(kinds, content, kind):
    assert kinds.tell(content) == kind


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([letter("D", 10, 10)], ["side_marker"]),  # where films show the right side
        ([letter("d", 10, 10)], ["panel"]),
        ([letter("D", 380, 10)], ["panel"]),
        ([letter("D", 380, 200)], ["unknown"]),
        ([letter("D", 380, 10), letter("I", 10, 20)], ["side_marker", "side_marker"]),
        ([letter("E", 380, 200)], ["side_marker"]),
        ([letter("E", 10, 10)], ["panel"]),
        ([letter("G", 10, 200)], ["unknown"]),
        ([letter("S", 190, 10)], ["unknown"]),  # superior, in the middle
        ([letter("I", 190, 470)], ["unknown"]),
        ([letter("A", 10, 470)], ["panel"]),
        ([letter("A", 10, 200)], ["unknown"]),
        ([letter("B", 370, 10), letter("JWS", 370, 35)], ["unknown", "unknown"]),  # initials
        ([letter("R", 10, 10), letter("L", 370, 10)], ["side_marker", "side_marker"]),
        ([letter("J", 10, 10)], ["unknown"]),
        ([letter(None, 10, 10)], ["unknown"]),
        ([letter("R", 10, 10, kind="annotation")], ["annotation"]),
    ],
)
def test_place_and_company_decide_about_letters_that_mean_two_things(kinds, regions, expected):
    assert [region.kind for region in kinds.tell_all(regions, 400, 500)] == expected


def test_no_shipped_pattern_takes_long(kinds):
    units = ("A", "1", "A ", "1 ", "1.", "A.", "1/", "A,", "1-", "HOSPITAL ", "1 X ", ". ", "12:")

    start = time.process_time()
    for unit in units:
        kinds.tell((unit * MAX_CONTENT)[: MAX_CONTENT - 1] + "!")

    assert time.process_time() - start < 2


def test_own_patterns_are_asked_first(tmp_path):
    path = tmp_path / "own.yaml"
    own = {**OWN, "name": "our D", "kind": "side_marker", "pattern": "D|WARD", "must_match": ["D"]}
    path.write_text(yaml.safe_dump([OWN, own]))

    kinds = load_kinds(path)

    assert kinds.tell("WARD 7") == "position"
    assert kinds.tell("D") == "side_marker"
    assert kinds.tell("PORTABLE") == "position"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"must_match": ["Ward A"]}, "pattern 'ward' does not match 'Ward A', which it must match"),
        ({"must_not_match": ["ward 12"]}, "pattern 'ward' matches 'ward 12', which it must not"),
        ({"must_match": []}, r"must_match: Tuple should have at least 1 item"),
        ({"must_not_match": ["x" * 121]}, "at most 120 characters"),
        ({"kind": "name"}, "kind: Input should be 'side_marker', 'position'"),
        ({"kind": "unknown"}, "is of kind unknown; expected a kind of known text"),
        ({"pattern": "WARD ("}, "pattern 'ward' is no regular expression"),
        ({"pattern": "(W+A)+RD [0-9]"}, r"repeats a group by '\+', which can take hours"),
        ({"pattern": "(WARD ){1,}[0-9]"}, r"repeats a group by '\{1,\}'"),
        ({"pattern": "(WARD ){0,99}[0-9]"}, r"repeats a group by '\{0,99'"),
        ({"pattern": "A*" * 8 + "WARD [0-9]"}, r"can be tried in 10\^17 ways"),
        ({"pattern": "(?:(?:(?:A?){0,9}){0,9}){0,9}WARD [0-9]"}, "which can take hours"),
        ({"pattern": "(?:A|AA){60}|WARD [0-9]"}, "which can take hours"),
        ({"pattern": "(?x:(?:A|A) +)|WARD [0-9]"}, "which can take hours"),
        ({"pattern": "A{99999999999}|WARD [0-9]"}, "the repetition number is too large"),
        ({"pattern": "(" * 700 + "X" + ")" * 700}, "is no regular expression"),
        ({"pattern": "WARD [0-9])|(?:B"}, "unbalanced parenthesis"),
        ({"place": "middle"}, "place: Input should be 'anywhere', 'side' or 'corner'"),
    ],
)
def test_own_pattern_that_cannot_be_trusted_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump([{**OWN, **change}]))

    with pytest.raises(ConfigError, match=message) as refusal:
        load_kinds(path)
    assert str(refusal.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patterns: [", "is not valid YAML"),
        ("just text", "expected a list of patterns"),
        (None, "cannot be read"),
    ],
)
def test_file_that_holds_no_patterns_is_refused(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_kinds(path)


def test_every_kind_of_text_can_be_told(kinds):
    told = {pattern.kind for pattern in kinds.patterns}

    assert told == set(REGION_KINDS) - {"unknown", "annotation"}

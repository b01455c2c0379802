"""Each locked package has a licence that is allowed or named; what is neither fails by name."""

from email.message import Message
from importlib.metadata import PackageNotFoundError

import pytest
import yaml

from tests.packaging.licences import ROOT, RULES, judge

SMALL = {
    "allowed": ["MIT", "BSD-3-Clause"],
    "spellings": {"MIT License": "MIT"},
    "named": {"dual": {"declares": "MIT, GPL-2.0", "licence": "MIT", "reason": "ours to choose"}},
}


def package(**fields: str) -> Message:
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


def test_every_locked_package_may_be_used() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    table, failures = judge(lock, yaml.safe_load(RULES.read_text(encoding="utf-8")))

    assert failures == []
    assert sum(map(len, table.values())) > 250
    assert not [licence for licence in table if "GPL" in licence]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (
            {"License_Expression": "MIT AND (BSD-3-Clause OR MIT)", "License": "x"},
            "BSD-3-Clause AND MIT",
        ),
        ({"Classifier": "License :: OSI Approved :: MIT License", "License": "all of it\n"}, "MIT"),
        ({"License": "MIT\n\nPermission is granted"}, "MIT"),
    ],
)
def test_licence_is_found_wherever_it_is_declared(fields: dict[str, str], licence: str) -> None:
    rules = SMALL | {"named": {}}

    assert judge("a==1 \\\n    --hash=x\n", rules, lambda _: package(**fields)) == (
        {licence: ["a"]},
        [],
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"License_Expression": "MIT OR AGPL-3.0-only"}, "MIT, AGPL-3.0-only"),
        (
            {"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"},
            "Affero",
        ),
        ({"License": "proprietary"}, "proprietary"),
        ({"License": ""}, "nothing"),
    ],
)
def test_package_that_is_not_allowed_is_named_with_its_licence(
    fields: dict[str, str], said: str
) -> None:
    _, (line,) = judge("a==1\n", SMALL | {"named": {}}, lambda _: package(**fields))

    assert line.startswith("a: declares ")
    assert said in line


def test_reason_holds_for_the_licence_that_it_was_written_for_only() -> None:
    before = judge("dual==1\n", SMALL, lambda _: package(License_Expression="MIT OR GPL-2.0"))
    after = judge("dual==2\n", SMALL, lambda _: package(License_Expression="GPL-2.0"))

    assert before == ({"MIT": ["dual (ours to choose)"]}, [])
    assert after[1][0].startswith("dual: declares GPL-2.0, which")


def test_what_is_not_installed_not_for_this_machine_or_gone_is_said() -> None:
    def read(name: str) -> Message:
        raise PackageNotFoundError(name)

    _, failures = judge("a==1\nb==1 ; sys_platform == 'never'\n", SMALL, read)

    assert failures[0] == "a: is not installed; run make setup"
    assert failures[1].startswith("b: declares not installed")
    assert failures[2] == "dual: is named but not locked"

"""The licence that each locked package declares, held against ``licences.yaml``; `make licences`.

Reads installed metadata and nothing else; docs/how-to/install.md names what wheels bundle.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
RULES = Path(__file__).with_name("licences.yaml")


def find_declared(package: PackageMetadata) -> list[str]:
    """Every licence that metadata names; the first of expression, classifiers, free text."""
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in package.get_all("Classifier") or []
        if classifier.startswith("License :: OSI Approved ::")
    ]
    expression = package.get("License-Expression")
    if classifiers and not expression:
        return classifiers
    text = expression or (package.get("License") or "").strip().partition("\n")[0]
    # An alternative counts as if it were added: where one of two is not allowed, a person decides.
    return [part.strip("()") for part in re.split(r" (?:AND|OR) ", text) if part]


def judge(
    lock: str, rules: dict, read: Callable[[str], PackageMetadata] = metadata
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the packages by licence, and a line for each that fails."""
    pins = [Requirement(line.rstrip(" \\")) for line in lock.splitlines() if line[:1].isalnum()]
    table, failures = defaultdict(list), []
    for name in sorted({pin.name for pin in pins}):
        is_wanted = any(
            pin.name == name and (not pin.marker or pin.marker.evaluate()) for pin in pins
        )
        named = rules["named"].get(name)
        try:
            declared = (
                (find_declared(read(name)) or ["nothing"]) if is_wanted else ["not installed"]
            )
        except PackageNotFoundError:
            failures.append(f"{name}: is not installed; run make setup")
            continue
        licences = [rules["spellings"].get(part, part) for part in declared]
        if set(licences) <= set(rules["allowed"]):
            table[" AND ".join(sorted(set(licences)))].append(name)
        elif named and named["declares"] == ", ".join(declared):
            table[named["licence"]].append(f"{name} ({named['reason']})")
        else:
            failures.append(
                f"{name}: declares {', '.join(declared)}, which licences.yaml does not allow; "
                "replace the package, or name it there with a reason"
            )
    gone = sorted(set(rules["named"]) - {pin.name for pin in pins})
    return dict(table), failures + [f"{name}: is named but not locked" for name in gone]


def main() -> None:
    """Print the table, or fail with a line for each package that is not allowed."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    table, failures = judge(lock, yaml.safe_load(RULES.read_text(encoding="utf-8")))
    if failures:
        sys.exit("\n".join(f"error: {line}" for line in failures))
    for licence, names in sorted(table.items(), key=lambda row: -len(row[1])):
        print(f"{len(names):4} {licence}: {', '.join(names)}")


if __name__ == "__main__":
    main()

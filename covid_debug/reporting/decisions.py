"""Reviewers' decisions, as the report exports them.

Reads the two export formats; what a decision does to a data set belongs to cleaning.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from covid_debug.errors import DataIntegrityError

Verdict = Literal["accept", "reject", "unsure"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer says about the text found on one film.

    Attributes:
        image_id: The film.
        decision: ``"accept"`` the verdict of the audit, ``"reject"`` it, or ``"unsure"``.
        reviewer: Name or initials, may be empty.
        note: Free text, may be empty.
    """

    image_id: str
    decision: Verdict
    reviewer: str
    note: str


def read_decisions(path: Path) -> dict[str, Decision]:
    """Read decisions exported by a report.

    Args:
        path: JSON lines, or CSV if the name ends in ``.csv``.

    Returns:
        Image id -> decision; a later line about a film replaces an earlier one.

    Raises:
        DataIntegrityError: If the file cannot be read or a line is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read; expected decisions exported by a report"
        ) from error
    rows = _csv_rows(text) if path.suffix.lower() == ".csv" else _json_rows(path, text)
    return {d.image_id: d for d in (_parse(path, line, row) for line, row in rows)}


def _csv_rows(text: str) -> Iterable[tuple[int, Any]]:
    return enumerate(csv.DictReader(io.StringIO(text, newline="")), start=2)


def _json_rows(path: Path, text: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise DataIntegrityError(
                f"{path}:{number}: is not JSON; expected one decision a line"
            ) from error


def _parse(path: Path, number: int, row: Any) -> Decision:  # noqa: ANN401  foreign JSON
    known = get_args(Verdict)
    if not isinstance(row, Mapping) or not row.get("image_id") or row.get("decision") not in known:
        raise DataIntegrityError(
            f"{path}:{number}: is not a decision; expected image_id and a decision out of"
            f" {', '.join(known)}"
        )
    return Decision(
        str(row["image_id"]),
        row["decision"],
        str(row.get("reviewer") or ""),
        str(row.get("note") or ""),
    )

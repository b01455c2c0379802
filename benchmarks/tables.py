"""Tables of the benchmarks: one row is a mapping from column to cell, the same columns in each."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table as CSV, its header first."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def to_markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Return at least one row as a Markdown table."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([str(row[key]) for key in header] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

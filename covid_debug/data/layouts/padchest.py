"""PadChest (Bustos et al. 2019, arXiv:1901.07441): its table of 160,000 images."""

import re
from typing import Final

from covid_debug.data.layouts.base import (
    NO_LABEL,
    Asked,
    Listing,
    iter_numbered,
    need_finding,
    refuse_columns,
)
from covid_debug.data.layouts.reading import need_published, open_table
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError
from covid_debug.records import name_absence
from covid_debug.shown import to_printable

_COLUMNS: Final = ("ImageID", "ImageDir", "PatientID", "Projection", "Labels")
_WORD: Final = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_LIST: Final = re.compile(r"""\[(?:'[^']*'|"[^"]*"|[ ,])*\]""")
_NOTHING_SAID: Final = frozenset({"exclude", "unchanged", "suboptimal study"})


def list_padchest(asked: Asked) -> Listing:
    """List the films of PadChest for one finding.

    ``Labels`` is a list in Python's notation. A finding that is not in it is absent. Films are left
    out that have no labels, or only ones that say nothing of findings: ``exclude``,
    ``suboptimal study`` and ``unchanged``. Lateral views are listed with their projection.

    Args:
        asked: The table; ``images`` is the folder with the folders ``ImageDir``, by default the
            table's.

    Returns:
        The films.

    Raises:
        DataIntegrityError: If the table is not as published or the finding is unknown.
    """
    refuse_columns(asked, "padchest")
    table = open_table(asked.table)
    need_published(table, _COLUMNS)
    rows = list(table.rows(_COLUMNS))
    findings: dict[str, frozenset[str]] = {}
    for number, row in iter_numbered(iter(rows)):
        if row[-1] not in findings:
            findings[row[-1]] = _parse(row[-1], f"{table.path}, row {number}")
    known = frozenset().union(*findings.values()) - _NOTHING_SAID
    finding = need_finding(asked, "padchest", known)
    class_names = (name_absence(finding), finding)
    folder = (asked.images or asked.table.parent).absolute()
    listing = Listing("padchest", class_names=class_names)
    for name, place, patient, view, cell in rows:
        path = folder / place / name
        if not findings[cell] - _NOTHING_SAID:
            listing.leave_out(path, "padchest", f"{NO_LABEL}: Labels is {cell or 'empty'}")
            continue
        label = class_names[finding in findings[cell]]
        listing.films.append(
            ListedFilm(folder, path, f"padchest:{patient}", label, "padchest", view)
        )
    return listing


def _parse(cell: str, where: str) -> frozenset[str]:
    if cell.casefold() in {"", "nan"}:
        return frozenset()
    if not _LIST.fullmatch(cell):
        raise DataIntegrityError(
            f"{where}: Labels is '{to_printable(cell)[:60]}'; expected a list as"
            " ['pleural effusion', 'cardiomegaly']; download the table again, or leave --layout out"
        )
    words = (single or double for single, double in _WORD.findall(cell))
    return frozenset(word.strip() for word in words if word.strip())

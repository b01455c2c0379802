"""NIH ChestX-ray14 (Wang et al. 2017, arXiv:1705.02315): ``Data_Entry_2017.csv`` and its films."""

from pathlib import Path
from typing import Final

from covid_debug.data.layouts.base import (
    NO_LABEL,
    Asked,
    FileIndex,
    Listing,
    need_finding,
    refuse_columns,
)
from covid_debug.data.layouts.reading import need_published, open_table
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Split, name_absence

_COLUMNS: Final = ("Image Index", "Finding Labels", "Patient ID", "View Position")
_LISTS: Final[tuple[tuple[str, Split], ...]] = (
    ("train_val_list.txt", "train"),
    ("test_list.txt", "test"),
)


def list_nih(asked: Asked) -> Listing:
    """List the films of ChestX-ray14 for one finding.

    ``Finding Labels`` names all findings of a film, parted by ``|``; a finding that is not named is
    absent, because the labels know no uncertain ones. Where ``train_val_list.txt`` and
    ``test_list.txt`` lie beside the table they decide the splits.

    Args:
        asked: The table; ``images`` is the folder that holds the films at any depth, by default the
            table's.

    Returns:
        The films.

    Raises:
        DataIntegrityError: If the table is not as published or the finding is unknown.
    """
    refuse_columns(asked, "nih")
    table = open_table(asked.table)
    need_published(table, _COLUMNS[:3])
    columns = [name for name in _COLUMNS if name in table.header]
    rows = list(table.rows(columns))
    findings = {cell: frozenset(filter(None, cell.split("|"))) for _, cell, *_ in rows}
    finding = need_finding(asked, "nih", frozenset().union(*findings.values()))
    class_names = (name_absence(finding), finding)
    folder = (asked.images or asked.table.parent).absolute()
    index, splits = FileIndex(folder), _read_lists(asked.table.parent)
    listing = Listing("nih", class_names=class_names)
    for name, cell, patient, *view in rows:
        path = index.find(name) or folder / name
        reason = "" if findings[cell] else f"{NO_LABEL}: Finding Labels is empty"
        if splits and name not in splits:
            reason = reason or f"{NO_LABEL}: neither split list names it"
        if reason:
            listing.leave_out(path, "nih", reason)
            continue
        label = class_names[finding in findings[cell]]
        listing.films.append(
            ListedFilm(
                folder, path, f"nih:{patient}", label, "nih", "".join(view), splits.get(name)
            )
        )
    return listing


def _read_lists(folder: Path) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for name, split in _LISTS:
        path = folder / name
        if not path.is_file():
            return {}
        try:
            words = path.read_text(encoding="utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataIntegrityError(
                f"{path}: cannot be read ({error}); expected a file name a line; download it"
                " again, or move it away to split by patient"
            ) from error
        splits |= dict.fromkeys(words, split)
    return splits

"""Reviewers' decisions about films, as the report exports and shows them.

The file format and the decisions about single regions belong to
:mod:`covid_debug.cleaning.decisions`.
"""

from pathlib import Path

from covid_debug.cleaning.decisions import Decision
from covid_debug.cleaning.decisions import read_decisions as read_all


def read_decisions(path: Path) -> dict[str, Decision]:
    """Read what reviewers decided about the verdicts of films.

    Args:
        path: JSON lines exported by a report; lines about single regions are left out.

    Returns:
        Image id -> decision; a later line about a film replaces an earlier one.

    Raises:
        DataIntegrityError: If the file or one of its lines is not readable.
    """
    return {d.image_id: d for d in read_all(path) if not d.is_about_region}

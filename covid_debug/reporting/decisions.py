"""Reviewers' decisions about films and their regions, as the report exports and shows them.

The file format and the effect on a build belong to :mod:`covid_debug.cleaning.decisions`.
"""

from pathlib import Path

from covid_debug.cleaning.decisions import Decision, read_decisions


def read_last_decisions(path: Path) -> dict[str, Decision]:
    """Read what reviewers decided.

    Args:
        path: JSON lines exported by a report, or written by hand.

    Returns:
        Decisions by what they are about, see :func:`subject_of`; a later line about the same
        subject replaces an earlier one.

    Raises:
        DataIntegrityError: If the file or one of its lines is not readable.
    """
    return {subject_of(line): line for line in read_decisions(path)}


def subject_of(decision: Decision) -> str:
    """Return the key of the film or region that a decision is about, as the page's script makes it.

    Args:
        decision: A decision.

    Returns:
        ``"<image id>"``, ``"<image id>#<place of the region>"`` or ``"<image id>#box:<box>"``.
    """
    if not decision.is_about_region:
        return decision.image_id
    if decision.region_index is not None:
        return f"{decision.image_id}#{decision.region_index}"
    return f"{decision.image_id}#box:{','.join(f'{value:g}' for value in decision.box or ())}"

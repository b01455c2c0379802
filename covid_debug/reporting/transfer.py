"""The report's section about markers on films of other sources; computes nothing."""

import math
from dataclasses import dataclass

from covid_debug.audit.transfer_record import (
    MarkerTransfer,
    TransferEffect,
    conclude_transfer,
    format_effect,
    iter_donors,
)


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One group of donors, as shown."""

    donors: str
    n_patients: int
    laid: str
    reading: str
    site: str
    changed: float
    shuffled: float


@dataclass(frozen=True, slots=True)
class TransferSection:
    """What the section says."""

    conclusion: str
    n_layings: int
    n_marked: int
    n_models: int
    rows: tuple[TransferRow, ...]


def show_transfer(transfer: MarkerTransfer | None) -> TransferSection | None:
    """Return the section, or None where no marker was laid on a film of another source.

    Args:
        transfer: What laying markers showed; None where that was not asked.

    Returns:
        The rows and the sentence above them.
    """
    rows = () if transfer is None else tuple(iter_donors(transfer))
    if transfer is None or not rows:
        return None
    return TransferSection(
        conclude_transfer(transfer),
        transfer.n_layings,
        transfer.n_marked,
        len(transfer.checkpoints),
        tuple(
            TransferRow(
                row.donors,
                row.n_patients,
                _show(row.laid),
                _show(row.reading),
                _show(row.site),
                row.changed_marker.value,
                row.changed_shuffled.value,
            )
            for row in rows
        ),
    )


def _show(effect: TransferEffect | None) -> str:
    if effect is None or math.isnan(effect.value):
        return "–"
    return format_effect(effect).replace("-", "\N{MINUS SIGN}")

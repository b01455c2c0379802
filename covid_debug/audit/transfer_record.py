"""The record of a marker transfer: its numbers, its files, and how they are said.

What the numbers mean and how they come about: :mod:`covid_debug.audit.transfer_effects`.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import read_manifest
from covid_debug.records import Film
from covid_debug.records_json import Number, read_record, to_plain, write_record

TRANSFER_KIND = "marker-transfer"
TRANSFER_NAME = "transfer.json"
EFFECTS_NAME = "effects.csv"
LAYINGS_NAME = "layings.csv"

_LEGEND = (
    "log-odds of the class, mean [95 % interval over patients and seeds]; no interval: fewer than"
    " 10 patients on one side",
    "changed, shuffled: share of predictions unlike that of the text-free film, under the marker"
    " and under its shuffled pixels",
)

ANY = "any"
"""Donors or recipients whatever their source, label or marker."""

OTHER = "other sources"
"""Recipients of every source but the donor's."""

Measure = Literal[
    "laid", "reading", "site", "changed_marker", "changed_shuffled", "changed_by_own_text"
]
LogOdds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferEffect:
    """One number about the markers of some donors on some recipients.

    Attributes:
        donor_source: Source of the markers, or :data:`ANY`.
        donor_label: Label of the films that they come from.
        marker: Name of the marker, or :data:`ANY`.
        recipient_source: Source of the films that they are laid on, or :data:`OTHER`.
        recipient_label: Label of those films, or :data:`ANY`.
        class_name: Class whose log-odds are meant; :data:`ANY` for shares.
        measure: What is measured, see :mod:`covid_debug.audit.transfer_effects`.
        value: Mean over layings and seeds; NaN where undefined, as the interval.
        low: Lower end of the 95 % interval.
        high: Upper end.
        reason: Empty, or why there is no interval.
        n_layings: Markers laid.
        n_donor_patients: Patients that they come from.
        n_recipient_patients: Patients of the films that they are laid on.
        seed_values: The mean over layings of each checkpoint.
    """

    donor_source: str
    donor_label: str
    marker: str
    recipient_source: str
    recipient_label: str
    class_name: str
    measure: Measure
    value: Number
    low: Number
    high: Number
    reason: str
    n_layings: int
    n_donor_patients: int
    n_recipient_patients: int
    seed_values: tuple[Number, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerTransfer:
    """What laying markers on films of other sources showed.

    Attributes:
        checkpoints: Names of the models, in the order of ``seed_values``.
        class_names: Classes of the models.
        n_films: Films asked for.
        n_marked: Of them, with text inside the view: donors and recipients.
        n_layings: Markers laid, each with a shuffled control.
        n_evaluations: Images passed through the models.
        failed: ``image_id`` -> why a film could not be used.
        effects: Every number.
    """

    checkpoints: tuple[str, ...]
    class_names: tuple[str, ...]
    n_films: int
    n_marked: int
    n_layings: int
    n_evaluations: int
    failed: Mapping[str, str]
    effects: tuple[TransferEffect, ...]

    def select(self, **wanted: str) -> tuple[TransferEffect, ...]:
        """Return the effects whose named fields have these values."""
        return tuple(
            effect
            for effect in self.effects
            if all(getattr(effect, name) == value for name, value in wanted.items())
        )


@dataclass(frozen=True, slots=True)
class Layings:
    """Log-odds of every class, by every checkpoint, on every view.

    Attributes:
        films: Donors and recipients.
        names: Name of each film's marker.
        recipients: ``(M,)`` row of the film that is laid on.
        donors: ``(M,)`` row of the film that the marker comes from.
        as_is: ``(N, C, K)`` the films as they are; C checkpoints, K classes.
        text_free: ``(N, C, K)`` the films without their text.
        marker: ``(M, C, K)`` with the marker.
        shuffled: ``(M, C, K)`` with the shuffled marker.
    """

    films: tuple[Film, ...]
    names: tuple[str, ...]
    recipients: NDArray[np.int64]
    donors: NDArray[np.int64]
    as_is: LogOdds
    text_free: LogOdds
    marker: LogOdds
    shuffled: LogOdds


def write_transfer(folder: Path, transfer: MarkerTransfer, layings: Layings) -> None:
    """Write ``transfer.json``, ``effects.csv`` and ``layings.csv`` into a folder."""
    write_record(folder / TRANSFER_NAME, transfer, indent=1)
    with (folder / EFFECTS_NAME).open("w", newline="", encoding="utf-8") as stream:
        names = [item.name for item in fields(TransferEffect) if item.name != "seed_values"]
        writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(to_plain(effect) for effect in transfer.effects)
    with (folder / LAYINGS_NAME).open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        kinds = ("as_is", "text_free", "marker", "shuffled")
        values = [f"{kind}_{name}" for kind in kinds for name in transfer.class_names]
        rows.writerow(["checkpoint", "recipient", "donor", "marker", *values])
        for m, (taker, giver) in enumerate(zip(layings.recipients, layings.donors, strict=True)):
            for c, checkpoint in enumerate(transfer.checkpoints):
                parts = (
                    layings.as_is[taker, c],
                    layings.text_free[taker, c],
                    layings.marker[m, c],
                    layings.shuffled[m, c],
                )
                head = (checkpoint, layings.films[taker].image_id, layings.films[giver].image_id)
                numbers = (f"{value:.6f}" for part in parts for value in part)
                rows.writerow([*head, layings.names[giver], *numbers])


def load_transfer(folder: Path) -> MarkerTransfer:
    """Load an artifact of kind ``"marker-transfer"``.

    Args:
        folder: The artifact.

    Returns:
        What :func:`write_transfer` wrote, without the single layings.

    Raises:
        ArtifactError: If the artifact is missing, broken, of another kind or of a newer
            covid_debug.
    """
    read_manifest(folder, kind=TRANSFER_KIND)
    return read_record(
        folder / TRANSFER_NAME,
        MarkerTransfer,
        broken="is not a readable marker transfer",
        remedy="lay the markers again",
    )


@dataclass(frozen=True, slots=True)
class DonorRow:
    """What the markers of one group do to the log-odds of their own label on other sources.

    Attributes:
        donors: Source and label.
        n_patients: Patients that the markers come from.
        class_name: The label.
        laid: Marker minus nothing.
        reading: Marker minus its shuffled control.
        site: Marker minus markers of the recipients' own groups.
        changed_marker: Share of predictions unlike that of the text-free film.
        changed_shuffled: The same under the shuffled control.
    """

    donors: str
    n_patients: int
    class_name: str
    laid: TransferEffect
    reading: TransferEffect
    site: TransferEffect | None
    changed_marker: TransferEffect
    changed_shuffled: TransferEffect


def iter_donors(transfer: MarkerTransfer) -> Iterator[DonorRow]:
    """Yield one row for each group of donors: its markers on films of other sources."""
    far = transfer.select(recipient_source=OTHER, marker=ANY)
    found = {(e.donor_source, e.donor_label, e.measure, e.class_name): e for e in far}
    for source, label, measure, class_name in found:
        if measure != "reading" or class_name != label:
            continue
        reading = found[source, label, "reading", label]
        yield DonorRow(
            f"{source} {label}",
            reading.n_donor_patients,
            label,
            found[source, label, "laid", label],
            reading,
            found.get((source, label, "site", label)),
            found[source, label, "changed_marker", ANY],
            found[source, label, "changed_shuffled", ANY],
        )


def describe_transfer(transfer: MarkerTransfer) -> Iterator[str]:
    """Say what the markers of each group do on films of other sources.

    Args:
        transfer: What was found.

    Yields:
        Lines of a plain table, then a sentence.
    """
    if transfer.failed:
        kinds = Counter(reason.split(":", maxsplit=1)[0] for reason in transfer.failed.values())
        told = ", ".join(f"{n} ({kind})" for kind, n in kinds.most_common(3))
        yield f"films that could not be used: {told}"
    rows = list(iter_donors(transfer))
    if rows:
        columns = ("class", "marker - nothing", "letters (- shuffled)", "site (- own)", "changed")
        yield _line("markers of, on films of other sources", *columns, "shuffled")
    for row in rows:
        yield _line(
            f"{row.donors} ({row.n_patients} patients)",
            row.class_name,
            format_effect(row.laid),
            format_effect(row.reading),
            "-" if row.site is None else format_effect(row.site),
            f"{row.changed_marker.value:.1%}",
            f"{row.changed_shuffled.value:.1%}",
        )
    if rows:
        yield from _LEGEND
    yield conclude_transfer(transfer)


def _line(*cells: str) -> str:
    """Return the cells in columns of fixed width."""
    widths = (40, 11, 24, 24, 24, 8, 8)
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def conclude_transfer(transfer: MarkerTransfer) -> str:
    """Say in one or two plain sentences whether markers carry their source's label."""
    asked = [
        effect
        for effect in transfer.effects
        if (effect.recipient_source, effect.marker) == (OTHER, ANY)
        and effect.class_name == effect.donor_label
        and not math.isnan(effect.low)
    ]
    if not transfer.n_marked:
        return "no film has text inside the view: there is no marker to lay"
    if not transfer.select(recipient_source=OTHER):
        return "all films with text are of one source: there is no other to lay markers on"
    # Where no group has patients enough, the sources of a label together may.
    asked = [effect for effect in asked if effect.donor_source != ANY] or asked
    n = sum(effect.measure == "reading" for effect in asked)
    if not n:
        return "too few patients for an interval: nothing is shown about markers of other sources"
    parts = []
    for measure, meaning in (("reading", "letters"), ("site", "site")):
        raised = [e for e in asked if e.measure == measure and e.low > 0]
        groups = ", ".join(f"{e.donor_source} {e.donor_label}" for e in raised)
        parts.append(f"by {meaning}: {groups or 'none'}")
    return (
        "groups whose markers are shown to raise their own label on films of other sources, of"
        f" {n} with an interval: {'; '.join(parts)}"
    )


def format_effect(effect: TransferEffect) -> str:
    """Write an effect with its interval, e.g. ``"+0.12 [-0.03, +0.27]"``."""
    if math.isnan(effect.low):
        return f"{effect.value:+.3f} (no interval)"
    return f"{effect.value:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]"

"""What markers of one source do on films of another: numbers with intervals.

Owns the effects; sees answers of models, no pixels.

**The effects**, for donors ``A`` (source and label) on recipients ``B`` and a class ``k``, in
log-odds of ``k``:

- *laid*: marker minus nothing, on the text-free film. All that it does.
- *reading*: marker minus the same marker shuffled. What the letters do beyond the brightness that
  they bring.
- *site*: marker of ``A`` minus markers of the recipient's own group, both laid in the same way.
  What it matters where the marker comes from; recipients count alike on both sides.

Beside them the shares of predictions that differ from that of the text-free film under the marker,
under its shuffled control, and on the film as it was (``changed_by_own_text``).

**The intervals.** A laying belongs to two patients, so both are drawn whole and independently
(:func:`covid_debug.evaluation.crossed.two_way_bootstrap`) on the mean over the seeds; with
several seeds Student's t over the seeds' own values is added in quadrature. Below
:data:`MIN_PATIENTS` patients on either side no interval is given: with 5 it covered 84 % instead of
95 % in a simulation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.transfer_record import (
    ANY,
    OTHER,
    Layings,
    Measure,
    TransferEffect,
)
from covid_debug.evaluation.crossed import crossed_estimate, two_way_bootstrap
from covid_debug.evaluation.statistics import (
    Estimate,
)
from covid_debug.seeding import derive_seed

MIN_PATIENTS = 10
"""Fewest patients among donors and among recipients for which an interval is given."""

N_NAMED = 10
"""Markers with a row of their own: those with the most patients."""

_ON_FILMS: tuple[Measure, ...] = ("laid", "reading")
_SHARES: tuple[Measure, ...] = ("changed_marker", "changed_shuffled", "changed_by_own_text")


@dataclass(frozen=True, slots=True)
class _Cell:
    """Which layings a row speaks of, and what it is called."""

    donor_source: str
    donor_label: str
    marker: str
    recipient_source: str
    recipient_label: str
    chosen: NDArray[np.bool_]


def compute_effects(
    layings: Layings, class_names: Sequence[str], *, seed: int, n_resamples: int = 1000
) -> tuple[TransferEffect, ...]:
    """Turn the answers into effects with intervals.

    Args:
        layings: Answers on every view.
        class_names: Classes in index order.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of patients.

    Returns:
        Effects of every group of donors on every group of recipients and on all films of other
        sources, of every label's donors together on films of other sources, and of the commonest
        markers.
    """
    return tuple(
        effect
        for cell in _iter_cells(layings)
        for effect in _estimate_cell(cell, layings, tuple(class_names), seed, n_resamples)
    )


def _iter_cells(layings: Layings) -> Iterator[_Cell]:
    films = layings.films
    sources = np.array([film.source for film in films])
    labels = np.array([film.label for film in films])
    names = np.array(layings.names)
    giver, taker = layings.donors, layings.recipients
    is_foreign = sources[giver] != sources[taker]
    groups = sorted({(film.source, film.label) for film in films})
    for label in sorted(set(labels)):
        chosen = is_foreign & (labels[giver] == label)
        if len({source for source, other in groups if other == label}) > 1:
            yield _Cell(ANY, label, ANY, OTHER, ANY, chosen)
    for source, label in groups:
        given = (sources[giver] == source) & (labels[giver] == label)
        yield _Cell(source, label, ANY, OTHER, ANY, given & is_foreign)
        for to_source, to_label in groups:
            taken = (sources[taker] == to_source) & (labels[taker] == to_label)
            yield _Cell(source, label, ANY, to_source, to_label, given & taken)
    patients: dict[tuple[str, str], set[str]] = {}
    for film, name in zip(films, layings.names, strict=True):
        patients.setdefault((film.source, name), set()).add(film.patient_id)
    for source, name in sorted(patients, key=lambda key: (-len(patients[key]), key))[:N_NAMED]:
        chosen = is_foreign & (sources[giver] == source) & (names[giver] == name)
        yield _Cell(source, ANY, name, OTHER, ANY, chosen)


def _estimate_cell(
    cell: _Cell, layings: Layings, class_names: tuple[str, ...], seed: int, n_resamples: int
) -> Iterator[TransferEffect]:
    if not cell.chosen.any():
        return
    n_classes = len(class_names)
    native = _weigh_native(cell, layings)
    rows = np.flatnonzero(cell.chosen | (native > 0))
    is_asked, is_native = cell.chosen[rows], native[rows] > 0
    taker, giver = layings.recipients[rows], layings.donors[rows]
    marker, shuffled = layings.marker[rows], layings.shuffled[rows]
    before = layings.text_free[taker]
    shares = np.stack(
        [
            answers.argmax(axis=2) != before.argmax(axis=2)
            for answers in (marker, shuffled, layings.as_is[taker])
        ],
        axis=2,
    )
    # (N, C, D): what each laying adds to the sums of each checkpoint. Both sides of the site are
    # gains over the text-free film, or the films' own log-odds would not cancel in a resample.
    has_native = is_asked & np.isin(taker, taker[is_native])
    laid = marker - before
    table = np.concatenate(
        [
            np.concatenate([laid, marker - shuffled, shares], axis=2) * is_asked[:, None, None],
            laid * has_native[:, None, None],
            laid * native[rows][:, None, None],
        ],
        axis=2,
    )
    counts = np.stack([is_asked, has_native, native[rows]], axis=1).astype(np.float64)
    n_first = 2 * n_classes + len(_SHARES)

    def to_values(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        foreign = sums[:, n_first : n_first + n_classes]
        own = sums[:, n_first + n_classes : n_first + 2 * n_classes]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[:, :n_first] / sums[:, -3:-2]
            site = foreign / sums[:, -2:-1] - own / sums[:, -1:]
        return np.concatenate([means, site], axis=1)

    def to_values_by_seed(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        of_seeds = sums[:, :-3].reshape(len(sums), *table.shape[1:])
        counted = sums[:, -3:]
        each = [
            to_values(np.concatenate([of_seeds[:, c], counted], axis=1))
            for c in range(table.shape[1])
        ]
        return np.stack(each, axis=1)

    totals = np.concatenate([table.sum(axis=0).ravel(), counts.sum(axis=0)])
    per_seed = to_values_by_seed(totals[None])[0]
    patients = np.array([film.patient_id for film in layings.films])
    n_donors = len(set(patients[giver[is_asked]]))
    n_recipients = len(set(patients[taker[is_asked]]))
    n_few = min(n_donors, n_recipients)
    if is_native.any():
        n_few = min(n_few, len(set(patients[giver[is_native]])))
    replicates = None
    if n_few >= MIN_PATIENTS:
        scope = (cell.donor_source, cell.donor_label, cell.marker, cell.recipient_source)
        replicates = two_way_bootstrap(
            np.concatenate([table.reshape(len(rows), -1), counts], axis=1),
            patients[taker],
            patients[giver],
            to_values_by_seed,
            seed=derive_seed(seed, *scope, cell.recipient_label),
            n_resamples=n_resamples,
        )
    measures: list[tuple[Measure, str]] = [
        *((measure, name) for measure in _ON_FILMS for name in class_names),
        *((share, ANY) for share in _SHARES),
        *(("site", name) for name in class_names),
    ]
    for column, (measure, class_name) in enumerate(measures):
        if measure == "site" and not is_native.any():
            continue
        estimate = _estimate(
            per_seed[:, column],
            None if replicates is None else replicates[:, :, column],
            bounds=(0.0, 1.0) if measure in _SHARES else (-math.inf, math.inf),
            n=int(is_asked.sum()),
            n_clusters=n_few,
        )
        yield TransferEffect(
            donor_source=cell.donor_source,
            donor_label=cell.donor_label,
            marker=cell.marker,
            recipient_source=cell.recipient_source,
            recipient_label=cell.recipient_label,
            class_name=class_name,
            measure=measure,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            reason=estimate.reason,
            n_layings=estimate.n,
            n_donor_patients=n_donors,
            n_recipient_patients=n_recipients,
            seed_values=tuple(float(value) for value in per_seed[:, column]),
        )


def _weigh_native(cell: _Cell, layings: Layings) -> NDArray[np.float64]:
    """Return how much each laying of a recipient's own group counts, so that recipients balance.

    All 0 where the donors are of the recipients' own source: there is no other site.
    """
    films = layings.films
    groups = np.array([f"{film.source}\x1f{film.label}" for film in films])
    sources = np.array([film.source for film in films])
    giver, taker = layings.donors, layings.recipients
    if (sources[giver] == sources[taker])[cell.chosen].any():
        return np.zeros(len(giver))
    is_own = groups[giver] == groups[taker]
    n_asked = np.bincount(taker[cell.chosen], minlength=len(films))
    n_own = np.bincount(taker[is_own], minlength=len(films))
    weights = n_asked[taker] / np.maximum(n_own[taker], 1)
    return np.asarray(np.where(is_own, weights, 0.0), np.float64)


def _estimate(
    per_seed: NDArray[np.float64],
    replicates: NDArray[np.float64] | None,
    *,
    bounds: tuple[float, float],
    n: int,
    n_clusters: int,
) -> Estimate:
    mean = float(per_seed.mean())
    if math.isnan(mean):
        return Estimate.undefined(n, "not defined on these films")
    if replicates is None:
        reason = f"fewer than {MIN_PATIENTS} patients on one side: no interval"
        return Estimate(mean, math.nan, math.nan, n, reason)
    return crossed_estimate(
        per_seed, replicates, n=n, n_clusters=n_clusters, bounds=bounds
    ).estimate

"""The shortcut map of a model as a record: what films carry, what it tells, what the model takes.

Owns the record, its file and its wording; it is measured in :mod:`covid_debug.audit.shortcuts`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covid_debug.artifacts import read_manifest
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records_json import Number, read_record, write_record

SHORTCUTS_KIND = "shortcuts"
SHORTCUTS_NAME = "shortcuts.json"
ALL = "all"

_LEGEND = (
    "points, log-odds: how much more the donor's class is answered where the attribute is taken"
    " from a film of that class than from one of the film's own class; 0: it plays no part",
    "utility, readable: how well it tells the class, and can be read from the film as it is and"
    " cleaned; areas under the curve, .5 is chance",
    "[95 % interval over patients and seeds]; –: alike on all films, not measured, or too few"
    " patients",
)


@dataclass(frozen=True, slots=True)
class Pull:
    """How much an attribute from another class moves the answers towards that class.

    Attributes:
        towards: The class, or ``"all"``.
        log_odds: Mean change of the class's log-odds; interval over patients of films and of
            donors, and over seeds where there are several.
        share: The same for the share of films that are predicted as the class.
        log_odds_by_seed: Mean change, a model each.
        share_by_seed: The same for the share.
    """

    towards: str
    log_odds: Estimate
    share: Estimate
    log_odds_by_seed: tuple[Number, ...]
    share_by_seed: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class MappedAttribute:
    """One attribute of the map.

    Attributes:
        name: Key of :data:`covid_debug.audit.attributes.ATTRIBUTES`.
        title: As it is called.
        is_part: False where it holds other attributes, and for the lungs.
        n_films: Films on which it is known.
        utility: How well it tells the label, area under the curve.
        detectability: How well it can be read from the view, area under the curve.
        detectability_cleaned: The same from the views of the cleaned films; None without them.
        pulls: How much the models rely on it, over all classes and towards each; empty for the
            source, which cannot be exchanged.
    """

    name: str
    title: str
    is_part: bool
    n_films: int
    utility: Estimate
    detectability: Estimate
    detectability_cleaned: Estimate | None
    pulls: tuple[Pull, ...]

    def pull(self, towards: str = ALL) -> Pull | None:
        """Return the pull towards a class, or over all."""
        return next((pull for pull in self.pulls if pull.towards == towards), None)

    @property
    def share(self) -> Estimate:
        """How many more films are called the donor's class, over all; undefined without a pull."""
        pull = self.pull()
        return Estimate.undefined(0, "nothing to exchange") if pull is None else pull.share


@dataclass(frozen=True, slots=True)
class AnswerRate:
    """How often a question about the test films is answered right.

    Attributes:
        question: ``"class"``, or ``"<last class> or not"``.
        model: Share by the models, over patients and seeds.
        source: Share by who knows the source alone.
        majority: Share by always giving the commonest answer.
    """

    question: str
    model: Estimate
    source: Estimate
    majority: Number


@dataclass(frozen=True, slots=True)
class ShortcutMap:
    """What the films carry and what the models take from it.

    Attributes:
        class_names: Classes in order.
        n_models: Trainings of the arm, each with its own seed.
        n_films: Films on which attributes were exchanged.
        n_total: Test films.
        n_donors: Donors of each class, a film.
        attributes: Those that the models rely on most come first.
        whole_films: The pull when the whole film is exchanged: the most that there is.
        rates: Right answers of the models beside those of the source.
    """

    class_names: tuple[str, ...]
    n_models: int
    n_films: int
    n_total: int
    n_donors: int
    attributes: tuple[MappedAttribute, ...]
    whole_films: tuple[Pull, ...]
    rates: tuple[AnswerRate, ...]

    def describe(self) -> list[str]:
        """Return the map as lines of a plain table, what its columns are, and what it shows."""
        head = ("attribute", "points", "log-odds", "utility", "readable", "after cleaning")
        rows = [head]
        for item in self.attributes:
            pull = item.pull()
            rows.append(
                (
                    item.title,
                    _show(pull.share if pull else None, 100, "+.1f"),
                    _show(pull.log_odds if pull else None, 1, "+.2f"),
                    _show(item.utility, 1, ".2f"),
                    _show(item.detectability, 1, ".2f"),
                    _show(item.detectability_cleaned, 1, ".2f"),
                )
            )
        whole = self.whole_films[0]
        ends = (_show(whole.share, 100, "+.1f"), _show(whole.log_odds, 1, "+.2f"))
        rows.append(("the whole film", *ends, "", "", ""))
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return [*lines, *_LEGEND, *write_shortcut_lines(self)]


def _show(estimate: Estimate | None, unit: float, digits: str) -> str:
    if estimate is None or not estimate.is_defined:
        return "–"
    value, low, high = (
        format(unit * x, digits) for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


_CHANCE = 0.5


def write_shortcut_lines(found: ShortcutMap) -> list[str]:
    """Say what is shown to move the predictions, and what the source alone would answer.

    Args:
        found: The map.

    Returns:
        Sentences with their numbers, the most important first.
    """
    lines = []
    parts = [item for item in found.attributes if item.is_part and item.share.is_defined]
    whole = found.whole_films[0].share
    if parts:
        models = "this model alone" if found.n_models == 1 else f"{found.n_models} seeds"
        others = [("the whole film", whole)]
        others += [(i.title, i.share) for i in found.attributes if not i.is_part]
        beside = "; ".join(
            f"{title} {_points(each)}" for title, each in reversed(others) if each.is_defined
        )
        # By size: nothing is said about which of them is larger, intervals of two may overlap.
        shown = [f"{i.title} {_points(i.share)}" for i in parts if i.share.low > 0]
        told = (
            f"shown to move the predictions, {len(shown)} of {len(parts)}: {'; '.join(shown)}"
            if shown
            else "nothing is shown to move the predictions; the largest difference is that of"
            f" {parts[0].title}, {_points(parts[0].share)}"
        )
        lines.append(
            f"Of what a film carries besides the lungs, {told}. So many more films are called a"
            " class when it comes from a film of that class instead of one of their own"
            f" ({models}, {found.n_films} films)."
            + (f" For comparison: {beside}." if beside else "")
        )
        mute = [item.title for item in parts if not item.utility.low > _CHANCE]
        if mute:
            lines.append(
                f"Not shown to tell the class on these films: {', '.join(mute)}. There an exchange"
                " between classes cannot show whether the model uses it; the audit can, for text."
            )
    for rate in found.rates:
        question = "The class" if rate.question == "class" else f"“{rate.question}”"
        told = (
            f"{question} is answered right by the model on {_percent(rate.model)} of the test"
            f" films, by someone who knows only the source on {_percent(rate.source)}, and by"
            f" always giving the commonest answer on {100 * rate.majority:.1f} %"
        )
        if rate.source.is_defined and rate.source.value >= rate.model.value:
            lines.append(
                f"Warning: {told}: right answers to it do not show that the model reads lungs."
            )
        else:
            lines.append(f"{told}.")
    return lines


def _points(share: Estimate) -> str:
    return f"{100 * share.value:+.1f} points ({100 * share.low:+.1f} to {100 * share.high:+.1f})"


def _percent(share: Estimate) -> str:
    if not share.is_defined:
        return "an undefined share"
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def write_shortcuts(folder: Path, found: ShortcutMap) -> None:
    """Write ``shortcuts.json`` into a folder."""
    write_record(folder / SHORTCUTS_NAME, found, indent=1)


def load_shortcuts(folder: Path) -> ShortcutMap:
    """Load an artifact of kind ``"shortcuts"``.

    Returns:
        The map.

    Raises:
        ArtifactError: If the artifact is missing, broken or of another kind.
    """
    read_manifest(folder, kind=SHORTCUTS_KIND)
    path = folder / SHORTCUTS_NAME
    return read_record(path, ShortcutMap, broken="is not readable", remedy="make it again")


def rank_attributes(attributes: Sequence[MappedAttribute]) -> tuple[MappedAttribute, ...]:
    """Sort by the share of predictions that an attribute moves, the parts first."""

    def place(item: MappedAttribute) -> tuple[bool, bool, float]:
        pull = item.pull()
        value = math.nan if pull is None else pull.share.value
        return not item.is_part, math.isnan(value), -value if not math.isnan(value) else 0.0

    return tuple(sorted(attributes, key=place))

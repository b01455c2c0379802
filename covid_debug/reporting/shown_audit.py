"""An audit that a notebook draws: its counts, its bounds, and the first flagged films.

Joins what the report's cards are made of; decides nothing.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from covid_debug.audit.artifact import Audit
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.verdicts import VERDICTS
from covid_debug.data.filmset import FilmSet
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.records import FilmRegions
from covid_debug.reporting.cards import N_FIRST, Card, build_cards
from covid_debug.reporting.verdicts import VERDICT_NAMES

_FLAGS = ("text_driven", "text_sensitive")
_SIDE_PX = 200
_LINE = "fill:none;stroke:#ffb000;stroke-width:2;vector-effect:non-scaling-stroke"


@dataclass(frozen=True, slots=True)
class FilmsBehind:
    """What an audit's films are drawn from: where they lie, their text, and the model's view."""

    filmset: FilmSet
    regions: Mapping[str, FilmRegions]
    view: ViewSpec


@dataclass(frozen=True, slots=True)
class ShownAudit(Audit):
    """A finished audit; a notebook shows its verdicts, bounds and first flagged films.

    Attributes:
        behind: What the films are drawn from; None draws none.
        remarks: What a check of the model found, each a sentence without its stop.
    """

    behind: FilmsBehind | None = field(default=None, repr=False, compare=False)
    remarks: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, audit: Audit, behind: FilmsBehind, remarks: tuple[str, ...] = ()) -> "ShownAudit":
        """Return an audit that can be drawn."""
        own = {f.name: getattr(audit, f.name) for f in fields(audit)}
        return cls(**own, behind=behind, remarks=remarks)

    def __repr__(self) -> str:
        """Return the summary's lines; a film each would be pages."""
        return "\n".join(describe_audit(self.summary))

    def _repr_html_(self) -> str:
        said = [f"Warning: {line}." for line in self.remarks] + describe_audit(self.summary)
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in said)
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(VERDICT_NAMES[verdict])}</th>"
            f"<td>{sum(film.verdict == verdict for film in self.films)}</td></tr>"
            for verdict in VERDICTS
        )
        return (
            f"<h4>Does text drive the predictions?</h4>{lines}<table>{rows}</table>"
            f"{self._draw_strip()}<p>Research tool, not for clinical use.</p>"
        )

    def _draw_strip(self) -> str:
        if self.behind is None or not any(film.verdict in _FLAGS for film in self.films):
            return ""
        seen = self.behind
        cards = build_cards(self, seen.filmset, None, seen.regions, seen.view, N_FIRST)
        shown = [_draw(card) for card in cards if card.film.verdict in _FLAGS]
        return f"<div style='display:flex;gap:12px;flex-wrap:wrap'>{''.join(shown)}</div>"


def _draw(card: Card) -> str:
    """Draw what the model sees of a film, its text outlined; coordinates are the film's pixels."""
    film, (x, y, side) = card.film, card.frame.view
    outlines = "".join(f"<polygon points='{p}' style='{_LINE}'/>" for p in card.frame.outlines)
    name = html.escape(card.name)
    without = film.interventions.text_removed
    said = (
        f"{card.verdict_name}: p({film.target_class}) {film.probability:.2f},"
        f" without text {without:.2f}"
    )
    picture = html.escape(card.frame.missing) or (
        f"<svg width='{_SIDE_PX}' height='{_SIDE_PX}' viewBox='{x} {y} {side} {side}' role='img'"
        f" aria-label='{name} as the model sees it, its text outlined'><image x='{x}' y='{y}'"
        f" width='{side}' height='{side}' href='{card.thumbnail}'/>{outlines}</svg>"
    )
    return (
        f"<figure style='margin:0;width:{_SIDE_PX}px'>{picture}<figcaption>{name}<br>"
        f"<small>{html.escape(said)}</small></figcaption></figure>"
    )

"""Numbers of the sweep: one row a strength, arm and quantity, with its crossed interval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.mitigations.sweep import OWN_TEXT, TESTS, Answers
from benchmarks.tables import to_markdown, write_csv
from covid_debug.data.phantom import TEXT_FREE, TEXT_SWAPPED
from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM
from covid_debug.evaluation.metrics import ALL_CLASSES
from covid_debug.evaluation.predictions import FilmPredictions
from covid_debug.evaluation.scoring import ScoreBank, cross_scores
from covid_debug.evaluation.statistics import Estimate

RELIANCE: Final = "reliance"
_METRIC: Final = (ALL_CLASSES, "balanced_accuracy")
_PLACEBO: Final = "placebo"
COLUMNS = ("strength", "arm", "against", "quantity", "value", "low", "high", "n_seeds", "n_films")


@dataclass(frozen=True)
class Measured:
    """One quantity of one arm at one strength.

    Attributes:
        strength: Share of training patients whose text is of their class.
        arm: The arm.
        against: Arm that is subtracted, or empty.
        quantity: A version of the test films, for the balanced accuracy on it; or ``"reliance"``,
            the balanced accuracy with own text minus that with another class's.
        estimate: In [0, 1], or a difference; the interval is over patients and seeds.
        n_seeds: Seeds behind it.
    """

    strength: float
    arm: str
    against: str
    quantity: str
    estimate: Estimate
    n_seeds: int


def measure_sweep(answers: Answers, class_names: Sequence[str], *, seed: int) -> list[Measured]:
    """Score every arm at every strength, and its difference from the original.

    Args:
        answers: Of all models.
        class_names: Classes in index order.
        seed: Of the bootstrap.

    Returns:
        The quantities: of each arm; of each minus the original; of the cleaned minus the placebo.
    """
    return [
        row
        for strength, given in sorted(answers.items())
        for row in _measure(strength, given, tuple(class_names), seed)
    ]


def _measure(
    strength: float, given: Sequence[FilmPredictions], class_names: tuple[str, ...], seed: int
) -> Iterable[Measured]:
    bank = ScoreBank(given, class_names, seed=seed, n_resamples=1000)
    arms = list(dict.fromkeys(answer.arm for answer in given))
    pairs = [(arm, "") for arm in arms]
    if BASE_ARM in arms:
        pairs += [(arm, BASE_ARM) for arm in arms if arm != BASE_ARM]
    if {CLEANED_ARM, _PLACEBO} <= set(arms):
        pairs.append((CLEANED_ARM, _PLACEBO))
    for arm, against in pairs:
        for quantity in (*TESTS, RELIANCE):
            tests = (OWN_TEXT, TEXT_SWAPPED) if quantity == RELIANCE else (quantity,)
            cells = [(name, test) for name in (arm, against) if name for test in tests]
            signs = [
                side * term
                for side in ((1.0, -1.0) if against else (1.0,))
                for term in (1.0, -1.0)[: len(tests)]
            ]
            scores = bank.score_shared(cells)
            low = 0.0 if len(cells) == 1 else -len(cells) / 2
            found = cross_scores(scores, signs, _METRIC, bounds=(low, max(1.0, len(cells) / 2)))
            yield Measured(strength, arm, against, quantity, found.estimate, found.n_seeds)


def write_measured(path: Path, rows: Sequence[Measured]) -> None:
    """Write all quantities as CSV."""
    write_csv(
        path,
        COLUMNS,
        [
            {
                "strength": row.strength,
                "arm": row.arm,
                "against": row.against,
                "quantity": row.quantity,
                "value": f"{row.estimate.value:.4f}",
                "low": f"{row.estimate.low:.4f}",
                "high": f"{row.estimate.high:.4f}",
                "n_seeds": row.n_seeds,
                "n_films": row.estimate.n,
            }
            for row in rows
        ],
    )


def describe_measured(rows: Sequence[Measured]) -> str:
    """Return the tables as Markdown, in points: reliance, swapped text, cleaned minus placebo."""
    alone = [row for row in rows if not row.against]
    parts = [
        f"{title}\n\n{to_markdown(list(_spread(alone, quantity)))}"
        for title, quantity in (
            (
                "Reliance on text (balanced accuracy with own minus with another class's text):",
                RELIANCE,
            ),
            ("Balanced accuracy with the text of another class:", TEXT_SWAPPED),
            ("Balanced accuracy with own text:", OWN_TEXT),
            ("Balanced accuracy without text:", TEXT_FREE),
        )
    ]
    placebo = [row for row in rows if row.against == _PLACEBO]
    if placebo:
        table = [
            {"strength": f"{strength:g}"}
            | {r.quantity: _say(r.estimate) for r in placebo if r.strength == strength}
            for strength in dict.fromkeys(row.strength for row in placebo)
        ]
        parts.append(f"Cleaned minus placebo:\n\n{to_markdown(table)}")
    return "\n".join(parts)


def _spread(rows: Sequence[Measured], quantity: str) -> Iterable[Mapping[str, object]]:
    mine = [row for row in rows if row.quantity == quantity]
    for arm in dict.fromkeys(row.arm for row in mine):
        yield {"arm": arm} | {
            f"{row.strength:g}": _say(row.estimate) for row in mine if row.arm == arm
        }


def _say(estimate: Estimate) -> str:
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"

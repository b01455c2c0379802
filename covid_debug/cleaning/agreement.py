"""How far two reviewers agree: Cohen's kappa, the table behind it, and what they disagree on.

Compares two files of decisions; decides nothing about who is right.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from covid_debug.cleaning.decisions import FILM_ANSWERS, Decision
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import (
    Estimate,
    cluster_bootstrap,
    summarise_replicates,
)

REGION_ANSWERS: Final = ("accept", "keep", "reject", "unsure")
_REGION_WORDS: Final = {"accept": "remove", "reject": "not text"}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What two reviewers answered differently.

    Attributes:
        image_id: The film.
        about: Empty for its verdict, else the region, as in a decision's ``subject``.
        first: Answer of the first reviewer.
        second: Answer of the second one.
    """

    image_id: str
    about: str
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of two reviewers on what both have answered.

    Attributes:
        about: ``"films"`` or ``"regions"``.
        answers: The possible answers.
        confusion: Counts, a row for each answer of the first reviewer, a column for each answer of
            the second.
        n_first: Answered by the first reviewer.
        n_second: Answered by the second one.
        n_patients: Patients of what both answered.
        share: Share of equal answers, over patients.
        kappa: Cohen's kappa, over patients: 0 is what chance gives, 1 is full agreement.
        disagreements: In the order of the first file.
    """

    about: str
    answers: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    n_first: int
    n_second: int
    n_patients: int
    share: Estimate
    kappa: Estimate
    disagreements: tuple[Disagreement, ...]

    @property
    def n(self) -> int:
        """Films or regions that both have answered."""
        return sum(map(sum, self.confusion))

    def describe(self) -> Iterator[str]:
        """Write the agreement as lines of plain text.

        Yields:
            Counts, kappa and the table; one line where nothing was answered by both.
        """
        counts = f"{self.n} {self.about} answered by both ({self.n_first} and {self.n_second})"
        if not self.n:
            yield f"{counts}: no agreement to measure."
            return
        yield (
            f"{counts}, {self.n_patients} patients: Cohen's kappa {_show(self.kappa, 1, '.2f')};"
            f" equal {_show(self.share, 100, '.1f')} %"
        )
        side = max(len("first ↓ second →"), *map(len, self.answers))
        yield f"{'first ↓ second →':{side}}" + "".join(f"{name:>10}" for name in self.answers)
        for name, row in zip(self.answers, self.confusion, strict=True):
            yield f"{name:{side}}" + "".join(f"{n:>10}" for n in row)


def compare_reviewers(
    first: Sequence[Decision],
    second: Sequence[Decision],
    patients: Mapping[str, str],
    *,
    seed: int = 0,
) -> tuple[Agreement, Agreement]:
    """Measure the agreement of two reviewers on films and on regions.

    Kappa is that of [cohen1960kappa]; intervals are percentiles over 1,000 draws of patients, for
    kappa with one made-up patient more, who may have got any answers. Of several answers of a
    reviewer about the same the last one counts. Added regions take no part: the other reviewer was
    not asked about them.

    Args:
        first: Decisions of one reviewer.
        second: Decisions of the other.
        patients: ``image_id`` -> patient, at least of the films that both decided on.
        seed: Seed of the draws.

    Returns:
        Agreement on films, and on regions.

    Raises:
        InputContractError: If one file holds several reviewers, or a film's patient is not known.
    """
    for name, decisions in (("first", first), ("second", second)):
        reviewers = list_reviewers(decisions)
        if len(reviewers) > 1:
            raise InputContractError(
                f"decisions: the {name} file holds {len(reviewers)} reviewers"
                f" ({', '.join(reviewers)}); expected one; give a file for each"
            )
    unknown = {one.image_id for one in first} & {one.image_id for one in second} - patients.keys()
    if unknown:
        raise InputContractError(
            f"decisions: {len(unknown)} films are not in the run (first: {min(unknown)});"
            " expected decisions about its films; name the run that was reviewed"
        )
    return (
        _compare(first, second, patients, seed, is_region=False),
        _compare(first, second, patients, seed, is_region=True),
    )


def list_reviewers(decisions: Sequence[Decision]) -> list[str]:
    """Return the names of reviewers, in alphabetical order; lines without a name say none."""
    return sorted({one.reviewer for one in decisions} - {""})


def tabulate(disagreements: Iterable[Disagreement], names: Mapping[str, str]) -> str:
    """Return disagreements as CSV text.

    Args:
        disagreements: The rows.
        names: ``image_id`` -> name of the film's file.

    Returns:
        Columns ``image_id``, ``name``, ``region`` (empty for the verdict), ``first``, ``second``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("image_id", "name", "region", "first", "second"))
    for one in disagreements:
        name = names.get(one.image_id, "")
        writer.writerow((one.image_id, name, one.about[1:], one.first, one.second))
    return stream.getvalue()


def _compare(
    first: Sequence[Decision],
    second: Sequence[Decision],
    patients: Mapping[str, str],
    seed: int,
    *,
    is_region: bool,
) -> Agreement:
    possible = REGION_ANSWERS if is_region else FILM_ANSWERS
    answers = [_last_answers(each, possible, is_region=is_region) for each in (first, second)]
    shared = [key for key in answers[0] if key in answers[1]]
    codes = np.array(
        [[possible.index(said[key]) for key in shared] for said in answers], np.int64
    ).reshape(2, -1)
    people = [patients[key[0]] for key in shared]
    confusion = Counter(zip(codes[0].tolist(), codes[1].tolist(), strict=True))
    words = [_REGION_WORDS.get(each, each) if is_region else each for each in possible]
    share, kappa = _estimate(codes, people, seed)
    return Agreement(
        about="regions" if is_region else "films",
        answers=tuple(words),
        confusion=tuple(
            tuple(confusion[i, j] for j in range(len(possible))) for i in range(len(possible))
        ),
        n_first=len(answers[0]),
        n_second=len(answers[1]),
        n_patients=len(set(people)),
        share=share,
        kappa=kappa,
        disagreements=tuple(
            Disagreement(image_id, about, words[i], words[j])
            for (image_id, about), i, j in zip(shared, *codes.tolist(), strict=True)
            if i != j
        ),
    )


def _last_answers(
    decisions: Sequence[Decision], possible: Sequence[str], *, is_region: bool
) -> dict[tuple[str, str], str]:
    return {
        (one.image_id, one.subject[len(one.image_id) :]): one.decision
        for one in decisions
        if one.is_about_region == is_region and one.decision in possible
    }


def _estimate(
    codes: NDArray[np.int64], people: Sequence[str], seed: int
) -> tuple[Estimate, Estimate]:
    n, n_people = codes.shape[1], len(set(people))
    if not n:
        nothing = Estimate.undefined(0, "nothing was answered by both")
        return nothing, nothing
    used, places = np.unique(codes, return_inverse=True)
    first, second = places.reshape(2, -1)
    cells = np.zeros((n, used.size**2))
    cells[np.arange(n), first * used.size + second] = 1.0
    generator = np.random.default_rng(seed)

    def both(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        # One patient more, spread over the cells at random: patients alone never draw what was not
        # seen, so that a rare answer or full agreement would look certain.
        unseen = generator.gamma(1 / used.size**2, size=sums.shape) * n / n_people
        seen, smooth = (t.reshape(-1, used.size, used.size) for t in (sums, sums + unseen))
        equal, likely = (np.trace(t, axis1=1, axis2=2) / t.sum(axis=(1, 2)) for t in (seen, smooth))
        total = smooth.sum(axis=(1, 2))
        chance = (smooth.sum(axis=2) * smooth.sum(axis=1)).sum(axis=1) / total**2
        left = np.where(chance < 1, 1 - chance, np.nan)
        return np.stack([equal, (likely - chance) / left], axis=1)

    replicates = cluster_bootstrap(cells, people, both, seed=seed)
    size = {"n": n, "n_clusters": n_people}
    equal = float((first == second).mean())
    share = summarise_replicates(equal, replicates[:, 0], **size, bounds=(0.0, 1.0))
    if used.size == 1:
        return share, Estimate.undefined(n, "both gave one answer only")
    kappa = float(cohen_kappa_score(first, second))
    return share, summarise_replicates(kappa, replicates[:, 1], **size, bounds=(-1.0, 1.0))


def _show(estimate: Estimate, unit: float, digits: str) -> str:
    if not estimate.is_defined:
        return f"undefined ({estimate.reason})"
    value, low, high = (
        format(unit * x, digits) for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"

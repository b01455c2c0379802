"""From the answers of all models to a comparison.

Owns which arms are compared with which, and how films, seeds and test sets are brought together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from covid_debug.evaluation.classification import (
    Classification,
    compare_scores,
    summarise_scores,
)
from covid_debug.evaluation.comparison import (
    BASE_ARM,
    CLEANED_ARM,
    POOLED,
    Cell,
    Comparison,
    Contrast,
    Design,
    Metric,
    Pooled,
    PooledDifference,
    Row,
)
from covid_debug.evaluation.footing import (
    judge_footing,
    measure_text_losses,
    recall_by_group,
)
from covid_debug.evaluation.metrics import Scores, list_keys
from covid_debug.evaluation.power import smallest_effect
from covid_debug.evaluation.predictions import FilmPredictions
from covid_debug.evaluation.questions import (
    ALPHA,
    OTHER_TEXT,
    OWN_TEXT,
    QUESTION_NAMES,
    PrimaryAnswer,
    Question,
    choose_question,
    correct_answers,
    not_measured,
)
from covid_debug.evaluation.scoring import ScoreBank, cross_scores
from covid_debug.evaluation.statistics import Estimate

FILL_ARMS = ("placebo", "decoys")  # what the cleaned arm is compared with, beside the original


def compare_arms(
    predictions: Iterable[FilmPredictions],
    class_names: Sequence[str],
    *,
    seed: int,
    questions: Sequence[str] = QUESTION_NAMES,
    from_source: Mapping[str, Mapping[str, int]] | None = None,
    n_resamples: int = 1000,
) -> Comparison:
    """Score every cell, contrast the arms film by film and answer the questions.

    Films that failed in one version of the test set are left out of the paired contrasts only;
    every cell states its own counts.

    Args:
        predictions: Answers of all models on all versions of the test films.
        class_names: Classes in index order.
        seed: Seed of the bootstrap.
        questions: Names in the catalogue of :mod:`covid_debug.evaluation.questions`.
        from_source: Version -> image id -> class that the film's source suggests, as in training.
        n_resamples: Resamples of patients.

    Returns:
        The table with intervals, and the answers with verdicts.

    Raises:
        InputContractError: If there is no such question.
    """
    bank = ScoreBank(predictions, tuple(class_names), seed=seed, n_resamples=n_resamples)
    asked = [choose_question(name, bank.cells) for name in questions]
    rows, cells = [], []
    for (arm, training_seed, test), answer in bank.answers.items():
        result = summarise_scores(
            bank.score(answer), answer.labels, answer.probabilities, class_names
        )
        rows += [_row(arm, test, training_seed, *entry) for entry in result.rows()]
        cells.append(_cell(answer, result))
    groups, footing = [], []
    for arm, test in bank.cells:
        scores = bank.score_shared([(arm, test)])
        for key in list_keys(class_names) if scores else ():
            pooled = cross_scores(scores, [1.0], key, bounds=(0.0, 1.0))
            rows.append(_row(arm, test, POOLED, *key, pooled.estimate))
        groups += recall_by_group(bank, arm, test)
        footing += judge_footing(bank, arm, test, (from_source or {}).get(test, {}))
    tests = {test for _, test in bank.cells}
    pairs = [pair for pair in zip(OTHER_TEXT, OWN_TEXT, strict=True) if tests >= set(pair)]
    contrasts = [
        contrast
        for arm, against in _list_pairs([arm for arm, _ in bank.cells])
        for test in dict.fromkeys(test for _, test in bank.cells)
        if (contrast := _contrast(bank, arm, against, test))
    ]
    return Comparison(
        tuple(class_names),
        tuple(rows),
        tuple(cells),
        tuple(contrasts),
        _describe_design(bank),
        answer_questions(bank, asked),
        tuple(groups),
        tuple(footing),
        tuple(measure_text_losses(bank, *pairs[0])) if pairs else (),
    )


def answer_questions(bank: ScoreBank, questions: Sequence[Question]) -> tuple[PrimaryAnswer, ...]:
    """Answer questions from the scores, corrected for the number that could be asked.

    Args:
        bank: The scores.
        questions: The questions.

    Returns:
        An answer each, in the same order; what was not measured carries the reason.
    """
    found = [(question, bank.score_shared(question.cells())) for question in questions]
    level = ALPHA / max(1, sum(bool(scores) for _, scores in found))
    return correct_answers([_answer(bank, *each, level) for each in found])


def _answer(
    bank: ScoreBank, question: Question, scores: Mapping[int, Sequence[Scores]], level: float
) -> PrimaryAnswer:
    if not scores:
        return not_measured(question, _say_missing(bank, question))
    signs = (1.0, -1.0, -1.0, 1.0) if question.minus else (1.0, -1.0)
    key = (question.class_name, question.metric)
    reach = float(len(signs) // 2)
    found = cross_scores(scores, signs, key, bounds=(-reach, reach))
    if not found.estimate.is_defined:
        return not_measured(question, found.estimate.reason)
    each = [
        cross_scores({s: terms}, signs, key, bounds=(-reach, reach)) for s, terms in scores.items()
    ]
    first = next(iter(scores.values()))[0]
    if len(_list_present(first, bank.class_names)) < 2:
        return not_measured(question, "its films are all of one class")
    return PrimaryAnswer(
        question=question,
        value=found.estimate.value,
        low=found.estimate.low,
        high=found.estimate.high,
        n=found.estimate.n,
        n_patients=int(first.patients.max()) + 1,
        n_seeds=found.n_seeds,
        by_seed=tuple(one.estimate.value for one in each),
        p=found.p_value,
        p_holm=math.nan,
        smallest=smallest_effect(found, level) if found.n_seeds > 1 else math.nan,
        verdict="no evidence",
    )


def _list_present(scores: Scores, class_names: Sequence[str]) -> list[str]:
    """Return the classes that have films."""
    return [n for n in class_names if scores.bases[scores.keys.index((n, "recall"))].any()]


def _say_missing(bank: ScoreBank, question: Question) -> str:
    missing = [cell for cell in question.cells() if cell not in bank.cells]
    arms = dict.fromkeys(arm for arm, _ in missing if arm not in {arm for arm, _ in bank.cells})
    if arms:
        return f"no arm {' and no arm '.join(map(repr, arms))}"
    if missing:
        words = (f"{arm!r} was not tested on {test!r}" for arm, test in missing)
        return " and ".join(words)
    return "no seed or no film that all of its cells have"


def _list_pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of arms: each with the original, and the cleaned with the other fills."""
    names = list(dict.fromkeys(arms))
    pairs = [(arm, BASE_ARM) for arm in names if arm != BASE_ARM and BASE_ARM in names]
    return pairs + [(CLEANED_ARM, arm) for arm in FILL_ARMS if {CLEANED_ARM, arm} <= set(names)]


def _contrast(bank: ScoreBank, arm: str, against: str, test: str) -> Contrast | None:
    shared = bank.score_shared([(arm, test), (against, test)])
    if not shared:
        return None
    per_seed = {seed: compare_scores(base, own) for seed, (own, base) in shared.items()}
    pooled = []
    for column, key in enumerate(list_keys(bank.class_names)):
        found = cross_scores(shared, [1.0, -1.0], key, bounds=(-1.0, 1.0))
        p = [paired.differences[column].mcnemar_p for paired in per_seed.values()]
        pooled.append(
            PooledDifference(
                class_name=key[0],
                metric=key[1],
                mean=found.estimate.value,
                sd=found.sd,
                low=found.estimate.low,
                high=found.estimate.high,
                n=found.estimate.n,
                n_seeds=found.n_seeds,
                mcnemar_p=p[0] if len(p) == 1 else math.nan,
            )
        )
    return Contrast(
        train_data=arm, against=against, test_data=test, per_seed=per_seed, pooled=tuple(pooled)
    )


def _describe_design(bank: ScoreBank) -> Design:
    arms = tuple(dict.fromkeys(arm for arm, _ in bank.cells))
    tests = tuple(dict.fromkeys(test for _, test in bank.cells))
    seeds = {arm: tuple(dict.fromkeys(s for a, s, _ in bank.answers if a == arm)) for arm in arms}
    of_test = {test: [p for p in bank.answers.values() if p.test_data == test] for test in tests}
    return Design(
        arms=arms,
        tests=tests,
        seeds=seeds,
        n_films={test: max(len(p.image_ids) for p in of_test[test]) for test in tests},
        n_patients={test: max(len(set(p.patients)) for p in of_test[test]) for test in tests},
        alpha=ALPHA,
        n_resamples=bank.n_resamples,
    )


def _cell(answer: FilmPredictions, result: Classification) -> Cell:
    return Cell(
        train_data=answer.arm,
        test_data=answer.test_data,
        seed=answer.seed,
        n_ok=len(answer.image_ids),
        n_total=answer.n_total,
        class_names=result.class_names,
        n_patients=result.n_patients,
        confusion=tuple(tuple(row) for row in result.confusion.tolist()),
        metrics=tuple(
            Metric(class_name=name, metric=metric, **asdict(estimate))
            for name, metric, estimate in result.rows()
        ),
    )


def _row(
    arm: str, test_data: str, seed: int | Pooled, name: str, metric: str, estimate: Estimate
) -> Row:
    return Row(
        train_data=arm,
        test_data=test_data,
        seed=seed,
        class_name=name,
        metric=metric,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
    )

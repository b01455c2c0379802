"""What a model's numbers stand on: recall by source, chance, the source alone, and text.

Owns what is read before any difference between arms: a model that knows no more than where a film
comes from cannot show what cleaning does.
"""

import math
from collections.abc import Mapping

import numpy as np

from covid_debug.evaluation.comparison import BASE_ARM, Footing, GroupRecall, TextLoss
from covid_debug.evaluation.crossed import crossed_estimate
from covid_debug.evaluation.metrics import ALL_CLASSES, MIN_GROUP, compute_scores
from covid_debug.evaluation.scoring import ScoreBank, cross_scores
from covid_debug.evaluation.statistics import Estimate, draw_clusters

_BALANCED = (ALL_CLASSES, "balanced_accuracy")


def recall_by_group(bank: ScoreBank, arm: str, test: str) -> list[GroupRecall]:
    """Return the recall of every class of every source, over all seeds.

    Args:
        bank: The answers.
        arm: The arm.
        test: Version of the test films.

    Returns:
        Groups with films, in order of source and class.
    """
    answers = [one for (one,) in bank.shared([(arm, test)]).values()]
    if not answers:
        return []
    first = answers[0]
    right = np.stack([one.probabilities.argmax(axis=1) == one.labels for one in answers], axis=1)
    people = np.unique(first.patients, return_inverse=True)[1].ravel()
    counts = draw_clusters(int(people.max()) + 1, seed=bank.seed, n_resamples=bank.n_resamples)
    sources = np.asarray(first.sources)
    groups = []
    for source, label in sorted(set(zip(first.sources, first.labels.tolist(), strict=True))):
        member = (sources == source) & (first.labels == label)
        weights = counts[:, people[member]]
        with np.errstate(invalid="ignore"):
            replicates = (weights @ right[member]) / weights.sum(axis=1, keepdims=True)
        n_patients = len(np.unique(people[member]))
        found = crossed_estimate(
            right[member].mean(axis=0),
            replicates,
            n=int(member.sum()),
            n_clusters=n_patients,
            bounds=(0.0, 1.0),
        ).estimate
        groups.append((source, label, found, n_patients))
    large = [found.value for _, _, found, _ in groups if found.n >= MIN_GROUP]
    worst = min(large, default=math.nan)
    return [
        GroupRecall(
            train_data=arm,
            test_data=test,
            source=source,
            class_name=bank.class_names[label],
            value=found.value,
            low=found.low,
            high=found.high,
            n=found.n,
            n_patients=n_patients,
            is_worst=found.n >= MIN_GROUP and found.value == worst,
        )
        for source, label, found, n_patients in groups
    ]


def judge_footing(
    bank: ScoreBank, arm: str, test: str, from_source: Mapping[str, int]
) -> list[Footing]:
    """Compare an arm with chance and with the source alone.

    Args:
        bank: The answers.
        arm: The arm.
        test: Version of the test films.
        from_source: Image id -> class that the film's source says; empty where not known.

    Returns:
        One record; none where the arm has no films there.
    """
    shared = bank.shared([(arm, test)])
    if not shared:
        return []
    scores = {seed: (bank.score(answer),) for seed, (answer,) in shared.items()}
    own = cross_scores(scores, [1.0], _BALANCED, bounds=(0.0, 1.0)).estimate
    first = next(iter(shared.values()))[0]
    chance = 1 / len(np.unique(first.labels))
    alone = math.nan
    over = Estimate.undefined(own.n, "their sources are not among the training films")
    if all(image_id in from_source for image_id in first.image_ids):
        said = np.array([from_source[image_id] for image_id in first.image_ids])
        source = compute_scores(
            first.labels,
            np.eye(len(bank.class_names))[said],
            bank.class_names,
            first.patients,
            first.sources,
            seed=bank.seed,
            n_resamples=bank.n_resamples,
        )
        both = {seed: (one, source) for seed, (one,) in scores.items()}
        over = cross_scores(both, [1.0, -1.0], _BALANCED, bounds=(-1.0, 1.0)).estimate
        alone = float(source.values[source.keys.index(_BALANCED)])
    return [
        Footing(
            train_data=arm,
            test_data=test,
            balanced_accuracy=own,
            chance=chance,
            from_source=alone,
            over_source=over,
            is_above_chance=own.low > chance,
            is_above_source=over.low > 0 if over.is_defined else None,
        )
    ]


def measure_text_losses(bank: ScoreBank, test: str, against: str) -> list[TextLoss]:
    """Measure what every arm loses when the text of the films is exchanged.

    Args:
        bank: The answers.
        test: Version of the test films with exchanged text.
        against: Version that it is compared with.

    Returns:
        One record for every arm that was tested on both.
    """
    losses = []
    for arm in dict.fromkeys(arm for arm, _ in bank.cells):
        own = bank.score_shared([(arm, against), (arm, test)])
        if not own:
            continue
        loss = cross_scores(own, [1.0, -1.0], _BALANCED, bounds=(-1.0, 1.0)).estimate
        less = Estimate.undefined(loss.n, "the original arm itself, or without it")
        cells = [(arm, against), (arm, test), (BASE_ARM, against), (BASE_ARM, test)]
        if arm != BASE_ARM and (both := bank.score_shared(cells)):
            signs = [1.0, -1.0, -1.0, 1.0]
            less = cross_scores(both, signs, _BALANCED, bounds=(-2.0, 2.0)).estimate
        losses.append(TextLoss(train_data=arm, test_data=test, loss=loss, less_original=less))
    return losses

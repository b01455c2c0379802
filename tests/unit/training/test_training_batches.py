"""Batch balancing: everything is seen, nothing is overwritten or padded."""

import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.training.batches import BalancedBatches

LABELS = np.array([0] * 30 + [1] * 23 + [2] * 7)


def build(labels=LABELS, *, share=0.25, batch_size=8, seed=0):
    return BalancedBatches(
        labels, target_class=2, target_share=share, batch_size=batch_size, seed=seed
    )


def test_every_other_film_is_seen_exactly_once_an_epoch():
    films = np.concatenate(list(build().draw_epoch(1)))

    others = films[LABELS[films] != 2]
    assert sorted(others) == list(range(53))


def test_every_batch_has_the_target_share_and_no_short_batch():
    batches = list(build().draw_epoch(1))

    assert [int((LABELS[batch] == 2).sum()) for batch in batches] == [2] * len(batches)
    assert {len(batch) for batch in batches} == {7, 8}


def test_counts_match_what_is_drawn():
    balanced = build()
    batches = list(balanced.draw_epoch(1))

    assert balanced.n_batches == len(batches) == 9
    assert balanced.n_films == sum(map(len, batches)) == 53 + 18


def test_target_films_come_cyclically_over_batches_and_epochs():
    balanced = build()
    drawn = []

    for epoch in (1, 2, 3):
        for batch in balanced.draw_epoch(epoch):
            drawn += [film for film in batch if LABELS[film] == 2]

    counts = np.bincount(drawn, minlength=len(LABELS))[53:]
    assert counts.sum() == 54
    assert counts.max() - counts.min() <= 1


def test_no_batch_holds_a_film_twice():
    balanced = build(share=0.5)

    for epoch in range(1, 5):
        batches = list(balanced.draw_epoch(epoch))
        assert [len(set(batch.tolist())) for batch in batches] == [len(batch) for batch in batches]
        assert sum(map(len, batches)) >= 8


def test_share_is_capped_by_the_number_of_target_films():
    labels = np.array([0] * 20 + [2])

    batches = list(build(labels, share=0.5).draw_epoch(1))

    assert batches
    for batch in batches:
        assert (labels[batch] == 2).sum() == 1
        assert len(batch) <= 8


def test_rare_share_still_gives_one_target_film_a_batch():
    n_targets = [int((LABELS[batch] == 2).sum()) for batch in build(share=0.01).draw_epoch(1)]

    assert len(n_targets) > 1
    assert set(n_targets) == {1}


def test_no_share_shows_every_film_once():
    films = np.concatenate(list(build(share=None).draw_epoch(1)))

    assert sorted(films) == list(range(60))


def test_order_follows_from_the_seed_and_changes_with_epochs():
    first, again, other = build(), build(), build(seed=1)

    epochs = [[batch.tolist() for batch in first.draw_epoch(epoch)] for epoch in (1, 2)]
    assert [batch.tolist() for batch in again.draw_epoch(1)] == epochs[0]
    assert [batch.tolist() for batch in other.draw_epoch(1)] != epochs[0]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 1}, "batch_size is 1"),
        ({"share": 1.0}, "target_share is 1.0"),
        ({"labels": np.array([0, 1])}, "0 of 2 films belong to the target class"),
        ({"labels": np.array([2, 2])}, "2 of 2 films belong to the target class"),
    ],
)
def test_bad_argument_is_named(kwargs, message):
    with pytest.raises(InputContractError, match=message):
        build(**kwargs)

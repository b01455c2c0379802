"""Batches in which every source of a class comes equally often."""

from collections import Counter

import numpy as np

from covid_debug.training.batches import BalancedBatches
from covid_debug.training.source_batches import SourceBatches

LABELS = np.array([0] * 30 + [1] * 24 + [2] * 10)
SOURCES = ["big"] * 27 + ["small"] * 3 + ["only"] * 24 + ["big"] * 9 + ["one"]


def plain():
    return BalancedBatches(LABELS, target_class=2, target_share=0.25, batch_size=8, seed=0)


def build():
    return SourceBatches(plain(), LABELS, SOURCES, seed=0)


def test_classes_keep_their_shares():
    batches, balanced = list(plain().draw_epoch(1)), build()
    drawn = list(balanced.draw_epoch(1))

    assert [LABELS[b].tolist() for b in drawn] == [LABELS[b].tolist() for b in batches]
    assert balanced.n_batches == len(drawn)
    assert balanced.n_films == sum(map(len, drawn))
    assert balanced.smallest == min(map(len, drawn))


def test_sources_of_a_class_come_equally_often():
    films = np.concatenate(list(build().draw_epoch(1)))

    counts = Counter((int(LABELS[film]), SOURCES[film]) for film in films)
    assert counts[0, "big"] == counts[0, "small"] == 15
    assert counts[1, "only"] == 24
    assert abs(counts[2, "big"] - counts[2, "one"]) <= 1


def test_no_film_of_a_group_comes_again_before_the_others():
    balanced = build()
    films = np.concatenate([np.concatenate(list(balanced.draw_epoch(n))) for n in (1, 2)])

    big = [film for film in films if film < 27]
    assert len(set(big[:27])) == 27
    small = [film for film in films if 27 <= film < 30]
    assert all(len(set(small[k : k + 3])) == 3 for k in range(0, 27, 3))


def test_the_seed_decides():
    first, again = (np.concatenate(list(build().draw_epoch(1))) for _ in range(2))
    other = SourceBatches(plain(), LABELS, SOURCES, seed=1)

    assert first.tolist() == again.tolist()
    assert first.tolist() != np.concatenate(list(other.draw_epoch(1))).tolist()

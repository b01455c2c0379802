"""Patient-level, seeded, stratified splits.

Films that must stay together (one patient, or near duplicates) are grouped first; a split never
parts a group.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.records import Split
from covid_debug.seeding import derive_seed

Shares = Mapping[Split, float]


def group_patients(patients: Iterable[str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join patients that share a film.

    Args:
        patients: All patients.
        links: Pairs of patients to keep on one side.

    Returns:
        Patient -> group; the group is named after its first patient in alphabetical order.
    """
    names = sorted(set(patients))
    at = {name: index for index, name in enumerate(names)}
    pairs = np.array([(at[one], at[other]) for one, other in links], np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(names),) * 2)
    _, labels = connected_components(graph, directed=False)
    first = dict(zip(labels[::-1], names[::-1], strict=True))
    return {name: first[label] for name, label in zip(names, labels, strict=True)}


def split_patients(
    groups: Sequence[str],
    labels: Sequence[str],
    sources: Sequence[str],
    *,
    seed: int,
    val_share: float,
    test_share: float,
) -> list[Split]:
    """Assign films to train, validation and test, whole groups at a time.

    Groups are shuffled within each class and source and handed to whichever split lacks most, so
    the shares hold for every class and, as far as group sizes allow, for every source. Every class
    gets at least one group in every split whose share is positive.

    Args:
        groups: Group of each film, usually its patient.
        labels: Class of each film.
        sources: Source of each film.
        seed: Run seed; the order of films does not matter.
        val_share: Share of films for validation, in [0, 1).
        test_share: Share of films for test, in [0, 1); the sum of both is below 1.

    Returns:
        The split of each film.

    Raises:
        InputContractError: If the shares are out of range.
        DataIntegrityError: If a class has fewer groups than there are splits.
    """
    if val_share < 0 or test_share < 0 or val_share + test_share >= 1:
        raise InputContractError(
            f"split_patients: val_share {val_share} and test_share {test_share} leave no training"
            " film; expected shares >= 0 with a sum below 1"
        )
    shares: dict[Split, float] = {
        "train": 1 - val_share - test_share,
        "val": val_share,
        "test": test_share,
    }
    wanted = {split: share for split, share in shares.items() if share > 0}
    sizes = Counter(groups)
    split_of: dict[str, Split] = {}
    for label, strata in _stratify(groups, labels, sources).items():
        members = _shuffle(strata, derive_seed(seed, "split", label))
        split_of |= _fill_every_split(label, _apportion(members, sizes, wanted), sizes, wanted)
    return [split_of[group] for group in groups]


def _stratify(
    groups: Sequence[str], labels: Sequence[str], sources: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """Return the groups of each class (a group's rarest) and source."""
    counts = Counter(labels)
    facts: dict[str, set[tuple[int, str, str]]] = defaultdict(set)
    for group, label, source in zip(groups, labels, sources, strict=True):
        facts[group].add((counts[label], label, source))
    strata: dict[str, dict[str, list[str]]] = {label: {} for label in sorted(counts)}
    for group in sorted(facts):
        _, label, source = min(facts[group])
        strata[label].setdefault(source, []).append(group)
    return strata


def _shuffle(strata: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [
        strata[source][index]
        for source in sorted(strata)
        for index in generator.permutation(len(strata[source]))
    ]


def _apportion(
    members: Sequence[str], sizes: Mapping[str, int], shares: Shares
) -> dict[str, Split]:
    split_of: dict[str, Split] = {}
    filled: dict[Split, int] = dict.fromkeys(shares, 0)
    n_seen = 0
    for group in members:
        n_seen += sizes[group]
        split = max(shares, key=lambda name: shares[name] * n_seen - filled[name])
        split_of[group] = split
        filled[split] += sizes[group]
    return split_of


def _fill_every_split(
    label: str, split_of: dict[str, Split], sizes: Mapping[str, int], shares: Shares
) -> dict[str, Split]:
    if len(split_of) < len(shares):
        raise DataIntegrityError(
            f"split_patients: class {label!r} has {len(split_of)} independent patients; expected"
            f" at least {len(shares)}, one for each of {', '.join(shares)}; add films of this class"
        )
    for split in shares:
        counts = Counter(split_of.values())
        if counts[split] == 0:
            donor = max(get_args(Split), key=lambda name: counts[name])
            candidates = [group for group in split_of if split_of[group] == donor]
            split_of[min(candidates, key=lambda group: (sizes[group], group))] = split
    return split_of

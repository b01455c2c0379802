"""Patient-level splits."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_debug.data.splits import group_patients, split_patients
from covid_debug.errors import DataIntegrityError, InputContractError

LABELS = ("normal", "pneumonia", "COVID-19")


def test_group_patients_follows_chains() -> None:
    groups = group_patients("abcdef", [("c", "b"), ("b", "e"), ("f", "d")])

    assert groups == {"a": "a", "b": "b", "c": "b", "d": "d", "e": "b", "f": "d"}


@given(
    films=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(LABELS), st.sampled_from("xyz")),
        min_size=1,
        max_size=120,
    ),
    seed=st.integers(0, 100),
)
@settings(deadline=None, derandomize=True)
def test_split_patients_never_parts_a_group(films: list[tuple[int, str, str]], seed: int) -> None:
    # Three private patients per class make every class splittable.
    films += [(100 + 3 * i + j, label, "x") for i, label in enumerate(LABELS) for j in range(3)]
    groups = [str(group) for group, _, _ in films]
    labels = [label for _, label, _ in films]
    sources = [source for _, _, source in films]

    splits = split_patients(groups, labels, sources, seed=seed, val_share=0.2, test_share=0.3)

    seen: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        seen[group].add(split)
    assert all(len(found) == 1 for found in seen.values())
    assert {(label, split) for label, split in zip(labels, splits, strict=True)} >= {
        (label, split) for label in set(labels) for split in ("train", "val", "test")
    }


def test_split_patients_holds_shares_for_every_class_and_source() -> None:
    groups = [str(index) for index in range(600)]
    labels = [LABELS[index % 3] for index in range(600)]
    sources = ["ab"[index // 3 % 2] for index in range(600)]

    splits = split_patients(groups, labels, sources, seed=1, val_share=0.1, test_share=0.2)

    counts = Counter(zip(labels, sources, splits, strict=True))
    for label in LABELS:
        for source in "ab":
            shares = [counts[label, source, split] for split in ("train", "val", "test")]
            assert shares == [70, 10, 20]


def test_split_patients_depends_on_seed_not_on_film_order() -> None:
    groups = [str(index) for index in range(60)]
    labels = [LABELS[index % 3] for index in range(60)]
    shares = {"val_share": 0.2, "test_share": 0.2}

    forward = split_patients(groups, labels, ["x"] * 60, seed=7, **shares)
    backward = split_patients(groups[::-1], labels[::-1], ["x"] * 60, seed=7, **shares)
    other = split_patients(groups, labels, ["x"] * 60, seed=8, **shares)

    assert forward == backward[::-1]
    assert forward != other


def test_split_patients_gives_the_smallest_class_to_every_split() -> None:
    splits = split_patients(
        ["a", "b", "c"], ["normal"] * 3, ["x"] * 3, seed=0, val_share=0.01, test_share=0.01
    )

    assert sorted(splits) == ["test", "train", "val"]


def test_split_patients_without_test_share_uses_two_splits() -> None:
    splits = split_patients(
        list("abcdefghij"), ["normal"] * 10, ["x"] * 10, seed=0, val_share=0.2, test_share=0.0
    )

    assert Counter(splits) == {"train": 8, "val": 2}


def test_split_patients_with_too_few_patients_raises() -> None:
    with pytest.raises(
        DataIntegrityError, match="class 'normal' has 2 independent patients; expected at least 3"
    ):
        split_patients(
            ["a", "a", "b"], ["normal"] * 3, ["x"] * 3, seed=0, val_share=0.2, test_share=0.2
        )


@pytest.mark.parametrize(("val_share", "test_share"), [(-0.1, 0.2), (0.5, 0.5), (0.2, -1)])
def test_split_patients_with_bad_shares_raises(val_share: float, test_share: float) -> None:
    with pytest.raises(InputContractError, match=r"val_share .* leave no training film"):
        split_patients(["a"], ["x"], ["x"], seed=0, val_share=val_share, test_share=test_share)

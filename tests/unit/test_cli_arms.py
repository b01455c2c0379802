"""`compare` takes an arm's seeds from its checkpoints."""

from pathlib import Path

import pytest

from covid_debug.artifacts import write_artifact
from covid_debug.cli.models import collect_arms
from covid_debug.errors import InputContractError


def make_checkpoint(folder: Path, seed: int | None) -> Path:
    with write_artifact(folder, kind="checkpoint") as draft:
        draft.facts.update({} if seed is None else {"seed": seed})
    return folder


def test_a_name_may_stand_for_several_trainings(tmp_path: Path) -> None:
    a, b, c, own, more = (
        make_checkpoint(tmp_path / name, seed)
        for name, seed in (("a", 3), ("b", 1), ("c", 3), ("own", None), ("more", None))
    )
    pairs = [f"original={a}", f"original={b}", f"cleaned={c}", f"x={own}", f"x={more}"]

    assert collect_arms(pairs) == {
        ("original", 3): a,
        ("original", 1): b,
        ("cleaned", 3): c,
        ("x", 0): own,
        ("x", 1): more,
    }


def test_two_trainings_with_one_seed_are_refused(tmp_path: Path) -> None:
    a, b = (make_checkpoint(tmp_path / name, 3) for name in "ab")

    with pytest.raises(InputContractError, match=r"b: was trained with seed 3, as .*a was; give"):
        collect_arms([f"original={a}", f"original={b}"])


def test_a_checkpoint_is_not_two_trainings(tmp_path: Path) -> None:
    own = make_checkpoint(tmp_path / "own", None)

    with pytest.raises(InputContractError, match=r"original=.*own: is given twice; give each"):
        collect_arms([f"original={own}", f"original={tmp_path}/./own"])
    assert len(collect_arms([f"original={own}", f"cleaned={own}"])) == 2

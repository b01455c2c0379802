"""Work on films in pieces: which films, whose records, what a kill leaves."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.shards import Records, Shard, ShardFinished
from covid_debug.stages import Means, lose_film, work_on_films
from tests.listeners import Told

NAMES = [f"film{i}" for i in range(7)]


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 50), st.integers(1, 60))
def test_shards_hold_every_item_once_in_order_and_evenly(n_items, n):
    items = list(range(n_items))
    pieces = [Shard(index, n).of(items) for index in range(1, n + 1)]

    assert [item for piece in pieces for item in piece] == items
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 50), st.integers(1, 20), st.data())
def test_halves_hold_what_the_shard_holds(n_items, n, data):
    shard = Shard(data.draw(st.integers(1, n)), n)
    items = list(range(n_items))

    assert [item for half in shard.halves() for item in half.of(items)] == shard.of(items)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1.5/4"])
def test_a_shard_that_does_not_exist_is_refused(text):
    with pytest.raises(InputContractError, match="shard"):
        Shard.parse(text)


def test_a_shard_is_read_as_it_is_written():
    assert str(Shard.parse("03/40")) == "3/40"


def test_records_are_the_union_of_all_writers(tmp_path):
    first, second = Records(tmp_path / "r"), Records(tmp_path / "r")
    first.add({"name": "a", "value": 1})
    second.add({"name": "b", "value": 2})
    assert "b" not in first

    first.refresh()

    assert dict(first) == {"a": {"name": "a", "value": 1}, "b": {"name": "b", "value": 2}}
    assert dict(Records(tmp_path / "r")) == dict(first)


def test_a_torn_line_is_no_record_until_it_ends(tmp_path):
    records = Records(tmp_path)
    line = json.dumps({"name": "ä", "value": 1}, ensure_ascii=False).encode() + b"\n"
    other = tmp_path / "other.jsonl"
    other.write_bytes(line[:9])
    records.refresh()
    assert list(records) == []

    other.write_bytes(line + b"no record\n[1]\n" + line.replace("ä".encode(), b"b"))
    records.refresh()

    assert sorted(records) == ["b", "ä"]
    assert records["b"] == {"name": "b", "value": 1}


def test_records_that_cannot_be_written_name_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"file/r: cannot be written .*start again"):
        Records(tmp_path / "file" / "r")


class Work:
    """Makes a record a film and remembers which it made."""

    def __init__(self, deadly: str = "") -> None:
        self.done: list[str] = []
        self.deadly = deadly

    def __call__(self, names, folder):
        for name in names:
            if name == self.deadly:
                raise KeyboardInterrupt
            self.done.append(name)
            yield {"name": name, "value": len(name)}


def work(out, means, made, **options):
    return work_on_films(out, "part-0123", NAMES, made, means, **options)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
def test_shards_do_each_film_once_and_the_merge_does_none(tmp_path, n):
    made = Work()
    for index in range(1, n + 1):
        with pytest.raises(ShardFinished):
            work(tmp_path / "out", Means(shard=Shard(index, n)), made)
    assert sorted(made.done) == NAMES

    records = work(tmp_path / "out", Means(), Work(deadly=NAMES[0]))

    assert sorted(records) == NAMES


def test_shards_of_different_numbers_complete_each_other(tmp_path):
    made = Work()
    for shard in (Shard(1, 2), Shard(3, 3), Shard(2, 3), Shard(1, 3)):
        with pytest.raises(ShardFinished):
            work(tmp_path / "out", Means(shard=shard), made)

    assert sorted(made.done) == NAMES


def test_what_a_kill_left_is_not_done_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "out", Means(), Work(deadly="film4"))
    made = Work()

    work(tmp_path / "out", Means(), made)

    assert made.done == NAMES[4:]


def test_a_first_part_goes_on_to_the_next_only_when_all_shards_did_theirs(tmp_path):
    with pytest.raises(ShardFinished, match="3 of 7 films of all shards"):
        work(tmp_path / "out", Means(shard=Shard(1, 2)), Work(), is_last=False)

    assert work(tmp_path / "out", Means(shard=Shard(2, 2)), Work(), is_last=False)


def test_records_of_another_content_are_named_and_deleted_when_these_are_done_with(tmp_path):
    out = tmp_path / "out"
    for key in ("part-aa", "other-aa", "part-other-aa"):
        work_on_films(out, key, NAMES, Work(), Means())
    told = Told(lambda *_: None)

    records = work_on_films(out, "part-bb", NAMES, Work(), Means(told))
    kept = sorted(path.name for path in tmp_path.iterdir())
    records.remove()

    assert ".out.part-aa.films" in kept
    assert [".out.part-aa.films: holds films of an earlier start" in line for line in told.warnings]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".out.other-aa.films",
        ".out.part-other-aa.films",
    ]


def test_a_shard_of_another_content_leaves_all_records(tmp_path):
    out = tmp_path / "out"
    work_on_films(out, "part-aa", NAMES, Work(), Means())

    with pytest.raises(ShardFinished):
        work_on_films(out, "part-bb", NAMES, Work(), Means(shard=Shard(1, 1)))

    assert len(list(tmp_path.iterdir())) == 2


def test_films_whose_files_are_not_intact_are_worked_on_again(tmp_path):
    out = tmp_path / "out"
    records = work(out, Means(), Work())
    made = Work()

    again = work(
        out,
        Means(),
        made,
        is_intact=lambda record, at: (record["name"], at) != ("film2", records.folder),
    )

    assert made.done == ["film2"]
    assert sorted(again) == NAMES


def test_a_film_that_no_worker_survives_is_refused_here_with_a_warning(tmp_path):
    def made(names, folder):
        yield from (lose_film(name, "no memory") for name in names)

    told = Told(lambda *_: None)
    records = work(
        tmp_path / "out",
        Means(told),
        made,
        refuse=lambda name, reason: {"name": name, "error": reason},
    )

    assert records["film3"] == {"name": "film3", "error": "no memory"}
    assert told.warnings[3] == "film3: no memory; it is recorded as unusable"
    with pytest.raises(ArtifactError, match="film0: no memory"):
        work(tmp_path / "other", Means(), made)


def test_names_that_are_no_utf_8_are_kept(tmp_path):
    name = "film\udcff.png"
    Records(tmp_path).add({"name": name})

    assert list(Records(tmp_path)) == [name]


def test_films_that_no_worker_survives_are_refused_and_the_others_go_on(tmp_path):
    def elsewhere(names, records):
        for name in names[1:]:
            records.add({"name": name, "value": 0})
        return {names[0]: "no memory"}

    made = Work()
    records = work(
        tmp_path / "out",
        Means(elsewhere=elsewhere),
        made,
        refuse=lambda name, reason: {"name": name, "error": reason},
    )

    assert made.done == []
    assert records["film0"] == {"name": "film0", "error": "no memory"}

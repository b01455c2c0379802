"""Push and pull: what arrives is what was sent, whatever is cut short, damaged or hostile."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from covid_debug.artifacts import find_damage, write_artifact
from covid_debug.errors import ArtifactError, InputContractError, MissingPackageError
from covid_debug.pushing import Moved, pull, push
from covid_debug.shards import Records

URL = "memory://bucket/study/plus"
ROOT = "/bucket/study/plus"
FILES = {
    "films.csv": b"a,b\n",
    "test/\xe4 [1].png": b"\x89PNG",
    "empty": b"",
    "big": b"x" * 100_000,
}
KEY = "cleaned-films-0123456789abcdef"


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The objects of memory://, none at first."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return MemoryFileSystem.store


def make(place: Path, files: dict[str, bytes] | None = None) -> Path:
    with write_artifact(place, kind="toy") as draft:
        for name, content in (files or FILES).items():
            (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
            (draft.path / name).write_bytes(content)
    return place


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def put(name: str, content: bytes) -> None:
    MemoryFileSystem().pipe_file(name, content)


def fail_after(monkeypatch: pytest.MonkeyPatch, n_puts: int, act: Callable[[], object]) -> None:
    """Let the store take so many files, then do something else at the next."""
    real, taken = MemoryFileSystem.put_file, []

    def put_file(self, source, target, **options):
        taken.append(target)
        if len(taken) == n_puts + 1:
            act()
        return real(self, source, target, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)


def die() -> None:
    raise ConnectionResetError("cut")


@pytest.mark.parametrize("scheme", ["memory://bucket/plus", "file://{}/store/plus"])
def test_what_is_pulled_is_what_was_pushed_byte_for_byte(scheme, tmp_path):
    url, made = scheme.format(tmp_path), make(tmp_path / "made")

    sent = push(made, url)
    got = pull(url, tmp_path / "got")

    assert read_all(tmp_path / "got") == read_all(made)
    assert find_damage(tmp_path / "got", kind="toy") == []
    assert (sent.what, sent.n_files, sent.n_before) == ("artifact", len(FILES) + 1, 0)
    assert got == sent
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "store") == [
        "got",
        "made",
    ]


def test_the_manifest_comes_last_and_a_second_push_sends_nothing(tmp_path, store):
    made = make(tmp_path / "made")

    push(made, URL)
    names = list(store)
    again = push(made, URL)

    assert names[0] == f"{ROOT}/.contents"
    assert names[-1] == f"{ROOT}/manifest.json"
    assert again == Moved("artifact", 0, 0, len(FILES) + 1)
    assert list(store) == names


@pytest.mark.parametrize("n_puts", range(len(FILES)))
def test_a_push_cut_short_leaves_no_manifest_and_the_next_sends_what_is_missing(
    n_puts, tmp_path, store, monkeypatch
):
    made = make(tmp_path / "made")
    with monkeypatch.context() as patch:
        fail_after(patch, n_puts, die)
        with pytest.raises(ArtifactError, match=r"memory://bucket/study/plus/.* \(cut\)"):
            push(made, URL)
    n_there = len(store) - 1  # the claim is no file

    assert f"{ROOT}/manifest.json" not in store
    with pytest.raises(ArtifactError, match=f"{URL}: no artifact"):
        pull(URL, tmp_path / "early")
    sent = push(made, URL)
    pull(URL, tmp_path / "got")

    assert (sent.n_files, sent.n_before) == (len(FILES) + 1 - n_there, n_there)
    assert read_all(tmp_path / "got") == read_all(made)
    assert not (tmp_path / "early").exists()


def test_a_torn_object_is_sent_again(tmp_path, store):
    made = make(tmp_path / "made")
    push(made, URL)
    put(f"{ROOT}/big", b"x" * 10)

    assert push(made, URL).n_files == 1
    assert pull(URL, tmp_path / "got").n_files == len(FILES) + 1


@pytest.mark.parametrize("is_finished", [True, False])
def test_another_artifact_is_refused_by_name_and_changes_nothing(
    is_finished, tmp_path, store, monkeypatch
):
    made, other = make(tmp_path / "made"), make(tmp_path / "other", {"big": b"y" * 100_000})
    with monkeypatch.context() as patch:
        if not is_finished:
            fail_after(patch, 2, die)
        with pytest.raises(ArtifactError) if not is_finished else monkeypatch.context():
            push(made, URL)
    before = {name: file.getvalue() for name, file in store.items()}

    with pytest.raises(ArtifactError, match=f"^{URL}: another artifact is there, or on its way"):
        push(other, URL)

    assert {name: file.getvalue() for name, file in store.items()} == before


def test_an_artifact_that_other_tools_copied_there_is_not_overwritten(tmp_path, store):
    made, other = make(tmp_path / "made"), make(tmp_path / "other", {"big": b"y"})
    for name, content in read_all(made).items():
        put(f"{ROOT}/{name}", content)

    with pytest.raises(ArtifactError, match="another artifact is there"):
        push(other, URL)
    pull(URL, tmp_path / "got")

    assert f"{ROOT}/.contents" not in store
    assert read_all(tmp_path / "got") == read_all(made)


def test_two_writers_of_the_same_both_end_well(tmp_path, monkeypatch):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    inner: list[Moved] = []
    fail_after(monkeypatch, 1, lambda: inner.append(push(two, URL)))

    outer = push(one, URL)
    pull(URL, tmp_path / "got")

    assert inner[0].what == outer.what == "artifact"
    assert read_all(tmp_path / "got") == read_all(one)


def test_of_two_writers_of_different_the_later_is_refused(tmp_path, monkeypatch):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", {"big": b"y" * 100_000})
    refused: list[str] = []

    def push_other() -> None:
        with pytest.raises(ArtifactError) as error:
            push(two, URL)
        refused.append(str(error.value))

    fail_after(monkeypatch, 1, push_other)

    push(one, URL)
    pull(URL, tmp_path / "got")

    assert refused[0].startswith(f"{URL}: another artifact is there")
    assert read_all(tmp_path / "got") == read_all(one)


def test_a_damaged_object_is_named_and_a_pull_goes_on_from_what_it_has(tmp_path, store):
    made, last = make(tmp_path / "made"), max(FILES)
    push(made, URL)
    put(f"{ROOT}/{last}", b"\x89PNX")

    with pytest.raises(ArtifactError, match=f"^{re.escape(f'{URL}/{last}')}: damaged"):
        pull(URL, tmp_path / "got")
    n_kept = len(read_all(next(tmp_path.glob(".got.*.pulled"))))
    del store[f"{ROOT}/{last}"]
    with pytest.raises(ArtifactError, match=f"^{re.escape(f'{URL}/{last}')}: no such bucket"):
        pull(URL, tmp_path / "got")

    assert not (tmp_path / "got").exists()
    assert push(made, URL).n_files == 1
    got = pull(URL, tmp_path / "got")
    assert (n_kept, got.n_files, got.n_before) == (len(FILES) - 1, 2, len(FILES) - 1)
    assert read_all(tmp_path / "got") == read_all(made)
    assert list(tmp_path.glob(".got.*")) == []


def test_a_file_that_differs_from_its_manifest_is_not_sent(tmp_path, store):
    made = make(tmp_path / "made")
    (made / "big").write_bytes(b"rotten")

    with pytest.raises(ArtifactError, match=r"made/big: differs from the manifest"):
        push(made, URL)

    assert f"{ROOT}/big" not in store
    assert f"{ROOT}/manifest.json" not in store


def test_a_place_that_has_it_is_left_alone_and_one_that_has_another_is_refused(tmp_path):
    made, other = make(tmp_path / "made"), make(tmp_path / "other", {"a": b"b"})
    push(made, URL)

    assert pull(URL, made) == Moved("artifact", 0, 0, len(FILES) + 1)
    with pytest.raises(ArtifactError, match="already exists"):
        pull(URL, other)
    assert read_all(other)["a"] == b"b"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "", ".", "x\0y"])
def test_a_manifest_that_leads_out_is_refused(name, tmp_path, store):
    manifest = {"kind": "toy", "files": {name: "0" * 64}}
    put(f"{ROOT}/manifest.json", json.dumps(manifest).encode())

    with pytest.raises(ArtifactError, match=f"^{URL}: the key .* leads out of the folder"):
        pull(URL, tmp_path / "deep" / "got")

    assert not (tmp_path / "x").exists()
    assert list(tmp_path.rglob("*")) == []


def test_shards_with_a_key_that_leads_out_are_refused(tmp_path, store):
    put(f"/bucket/study/.plus.{KEY}.films/../x.png", b"x")

    with pytest.raises(ArtifactError, match=r"films: the key '\.\./x\.png' leads out"):
        pull(URL, tmp_path / "got")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"[]", b'{"files": 1}', b'{"files": {"a": 1}}', b'{"files": {"a": "b"}}'],
)
def test_a_manifest_that_is_none_is_one_line(content, tmp_path, store):
    put(f"{ROOT}/manifest.json", content)

    with pytest.raises(ArtifactError, match=r"plus: manifest\.json is not a readable manifest"):
        pull(URL, tmp_path / "got")
    with pytest.raises(ArtifactError, match=r"plus: manifest\.json is not a readable manifest"):
        push(make(tmp_path / "made"), URL)


def test_a_file_of_regions_is_one_object_that_is_never_overwritten(tmp_path, store):
    url = f"{URL}.jsonl"
    (tmp_path / "regions.jsonl").write_bytes(b'{"image": "a"}\n')
    (tmp_path / "other.jsonl").write_bytes(b'{"image": "b"}\n')

    assert push(tmp_path / "regions.jsonl", url) == Moved("file", 1, 15, 0)
    assert push(tmp_path / "regions.jsonl", url) == Moved("file", 0, 0, 1)
    assert pull(url, tmp_path / "got.jsonl") == Moved("file", 1, 15, 0)
    assert pull(url, tmp_path / "got.jsonl") == Moved("file", 0, 0, 1)
    with pytest.raises(ArtifactError, match=f"{url}: is another file"):
        push(tmp_path / "other.jsonl", url)
    with pytest.raises(ArtifactError, match="already exists"):
        pull(url, tmp_path / "other.jsonl")
    assert (tmp_path / "got.jsonl").read_bytes() == b'{"image": "a"}\n'


def work(machine: Path, *names: str, content: str = "film") -> Path:
    """Finish films of a shard on a machine; return the place of the artifact."""
    records = Records(machine / f".plus.{KEY}.films")
    for name in names:
        film = records.folder / "train" / f"{name}.png"
        film.parent.mkdir(exist_ok=True)
        film.write_text(f"{content} {name}")
        records.add({"name": name, "path": f"train/{name}.png"})
    return machine / "plus"


def test_shards_of_several_machines_meet_below_the_url_and_grow(tmp_path):
    one, two = work(tmp_path / "one", "a", "b"), work(tmp_path / "two", "c")
    assert push(one, URL).n_files == 3
    (writer,) = one.parent.glob(".plus.*/*.jsonl")
    with writer.open("a") as stream:
        stream.write('{"name": "d"}\n{"name": "torn')
    assert push(two, URL).n_files == 2
    assert push(one, URL) == Moved("shards", 1, len(writer.read_bytes()) - 14, 2)

    got = pull(URL, tmp_path / "three" / "renamed")

    folder = tmp_path / "three" / f".renamed.{KEY}.films"
    assert (got.what, got.n_files) == ("shards", 5)
    assert sorted(Records(folder)) == ["a", "b", "c", "d"]
    assert (folder / "train/c.png").read_text() == "film c"
    assert pull(URL, tmp_path / "three" / "renamed").n_files == 0


def test_what_a_machine_has_of_others_never_replaces_what_they_sent(tmp_path, store):
    one = work(tmp_path / "one", "a")
    push(one, URL)
    pull(URL, tmp_path / "two" / "plus")
    (writer,) = one.parent.glob(".plus.*/*.jsonl")
    with writer.open("a") as stream:
        stream.write('{"name": "b"}\n')
    push(one, URL)
    before = {name: file.getvalue() for name, file in store.items()}
    (tmp_path / "two" / f".plus.{KEY}.films/train/a.png").write_text("another film of that name")

    assert push(tmp_path / "two" / "plus", URL).n_files == 0
    assert pull(URL, tmp_path / "two" / "plus").n_files == 1  # the longer record file
    assert {name: file.getvalue() for name, file in store.items()} == before


def test_shards_of_other_names_and_files_in_work_stay_where_they_are(tmp_path, store):
    place = work(tmp_path / "one", "a")
    other = tmp_path / "one" / f".plus.v2.{KEY}.films"
    other.mkdir()
    (other / "b.jsonl").write_text('{"name": "b"}\n')
    (place.parent / f".plus.{KEY}.films/train/.c.part").write_text("half")

    assert push(place, URL).n_files == 2
    put(f"/bucket/study/.plus.v2.{KEY}.films/b.jsonl", b"{}\n")
    assert pull(URL, tmp_path / "two" / "plus").n_files == 2


def test_shards_are_not_pulled_beside_what_is_finished(tmp_path):
    push(work(tmp_path / "one", "a"), URL)

    with pytest.raises(ArtifactError, match="already exists"):
        pull(URL, make(tmp_path / "plus"))


@pytest.mark.parametrize("place", ["nothing", "a-file", "folder"])
def test_what_is_no_result_is_not_pushed(place, tmp_path, store):
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "folder").mkdir()

    with pytest.raises(ArtifactError, match=f"{place}: expected a finished artifact"):
        push(tmp_path / place, URL)

    assert not store


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("plus", InputContractError, "plus: is no URL; expected one as s3://bucket/study/plus"),
        ("s3://", InputContractError, "s3://: is no URL"),
        ("s3://bucket", InputContractError, "s3://bucket: names no place in the bucket; add one"),
        ("s4://bucket/plus", InputContractError, "s4://bucket/plus: Protocol not known: s4"),
        ("s3://bucket/plus", MissingPackageError, r"needs s3fs.*'covid_debug\[objects\]'$"),
        ("abfs://bucket/plus", MissingPackageError, "abfs://bucket/plus: .*adlfs.*pip install"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line(url, error, message, tmp_path, monkeypatch):
    if error is MissingPackageError:
        monkeypatch.setitem(sys.modules, "s3fs", None)

    with pytest.raises(error, match=message):
        pull(url, tmp_path / "got")

"""Machines that share a bucket and no folder: `push` and `pull` against a local S3."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from covid_debug import stages
from covid_debug.data.phantom import generate_phantom
from tests.cli import call, refusal

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("default")  # of the server and botocore


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an empty bucket; its server listens on this machine alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            patch.setenv(name, value)
        server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        try:
            patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("study")
            yield "s3://study"
        finally:
            server.stop()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "films"
    generate_phantom(folder, n_train=8, n_test=4, seed=0)
    return folder


def told(*arguments: object) -> str:
    outcome = call(*arguments)
    assert outcome.code == 0, outcome
    return outcome.out[-1]


@contextlib.contextmanager
def no_film_worked_on() -> Iterator[None]:
    """Fail where a film is worked on: a merge is to find all of them done."""
    with mock.patch.object(stages, "_keep", side_effect=AssertionError("worked on a film")):
        yield


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def content(folder: Path) -> dict[str, object]:
    """Return all bytes; of the manifest what does not tell of the machine."""
    files = read_all(folder)
    manifest = json.loads(files.pop("manifest.json"))
    return {**files, **{key: manifest[key] for key in ("kind", "parameters", "inputs", "files")}}


def test_three_machines_that_share_a_bucket_only_do_what_one_does(bucket, films, tmp_path):
    regions = "films/truth_regions.jsonl"
    detect = ["detect-text", "--data", "films", "--detector", "marker", "--workers", 1]
    clean = ["clean", "--data", "films", "--regions", regions, "--workers", 1]
    n_files = len(read_all(films))
    assert told("push", films, f"{bucket}/films").startswith(f"{n_files} files sent (")
    for i in (1, 2, 3):
        (tmp_path / f"machine{i}").mkdir()
        with contextlib.chdir(tmp_path / f"machine{i}"):
            told("pull", f"{bucket}/films", "films")
            told(*detect, "--out", "found.jsonl", "--shard", f"{i}/3")
            told("push", "found.jsonl", f"{bucket}/found.jsonl")
            told(*clean, "--out", "plus", "--shard", f"{i}/3")
            told("push", "plus", f"{bucket}/plus")
    (tmp_path / "machine4").mkdir()

    with contextlib.chdir(tmp_path / "machine4"):
        told("pull", f"{bucket}/films/", "films")
        told("pull", f"{bucket}/found.jsonl", "found.jsonl")
        assert told("pull", f"{bucket}/plus", "plus").startswith("15 files fetched (")
        with no_film_worked_on():
            told(*detect, "--out", "found.jsonl")
            told(*clean, "--out", "plus")
        told("push", "plus", f"{bucket}/plus")
        told("push", "found.jsonl", f"{bucket}/found.jsonl")
    with contextlib.chdir(films.parent):
        told(*detect, "--out", "found.jsonl")
        told(*clean, "--out", "plus")
    with contextlib.chdir(tmp_path / "machine1"):
        told("pull", f"{bucket}/plus", "whole")
        told("pull", f"{bucket}/found.jsonl", "whole.jsonl")
        assert told("pull", f"{bucket}/plus", "whole").startswith("already there, ")

    assert read_all(tmp_path / "machine4/films") == read_all(films)
    assert content(tmp_path / "machine4/plus") == content(films.parent / "plus")
    assert read_all(tmp_path / "machine1/whole") == read_all(tmp_path / "machine4/plus")
    found = (films.parent / "found.jsonl").read_bytes()
    assert (tmp_path / "machine4/found.jsonl").read_bytes() == found
    assert (tmp_path / "machine1/whole.jsonl").read_bytes() == found
    assert sorted(path.name for path in (tmp_path / "machine4").iterdir()) == [
        "films",
        "found.jsonl",
        "plus",
    ]


def test_both_parts_of_a_proof_meet_in_a_store(films, tmp_path):
    clean = ["clean", "--data", films, "--regions", films / "truth_regions.jsonl", "--workers", 1]
    told(*clean, "--out", tmp_path / "plus")
    url = f"file://{tmp_path}/store/proof"
    prove = ["prove", "--data", "films", "--cleaned", "plus", "--detector", "strokes"]
    prove += ["--workers", 1, "--out", "proof"]
    machines = [tmp_path / "a", tmp_path / "b"]
    for machine in machines:
        shutil.copytree(films, machine / "films", copy_function=shutil.copyfile)
        shutil.copytree(tmp_path / "plus", machine / "plus", copy_function=shutil.copyfile)

    for _ in range(2):
        for i, machine in enumerate(machines, start=1):
            with contextlib.chdir(machine):
                told(*prove, "--shard", f"{i}/2")
                told("push", "proof", url)
        for machine in machines:
            with contextlib.chdir(machine):
                told("pull", url, "proof")
    with contextlib.chdir(machines[0]), no_film_worked_on():
        told(*prove)
    with contextlib.chdir(tmp_path / "b"):
        for rest in Path().glob(".proof.*"):
            shutil.rmtree(rest)
        told(*prove)

    assert content(tmp_path / "a/proof") == content(tmp_path / "b/proof")


def test_films_outside_of_a_set_are_said(bucket, films, tmp_path):
    names = sorted(path.name for path in (films / "train").iterdir())
    rows = [f"{name},{'AB'[i % 2]}\n" for i, name in enumerate(names)]
    (tmp_path / "own.csv").write_text("path,label\n" + "".join(rows))
    own = [
        "--table",
        tmp_path / "own.csv",
        "--images",
        films / "train",
        "--all-test",
        "--workers",
        1,
    ]
    told("ingest", *own, "--out", tmp_path / "set")

    outcome = call("push", tmp_path / "set", f"{bucket}/set")

    assert f"{len(names)} films lie outside of the set and are not sent" in " ".join(outcome.out)


def test_another_artifact_is_refused_by_the_store_itself(bucket, films, tmp_path):
    told("push", films, f"{bucket}/once")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json").write_text('{"kind": "toy", "files": {}}')

    error = refusal("push", tmp_path / "other", f"{bucket}/once")

    assert f"{bucket}/once: another artifact is there" in error


def test_what_is_wrong_with_a_store_is_one_line(bucket, films, tmp_path, monkeypatch):
    got = tmp_path / "got"

    assert "s3://absent/films/.contents: no such bucket" in refusal(
        "push", films, "s3://absent/films"
    )
    assert "s3://absent/films: no artifact" in refusal("pull", "s3://absent/films", got)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "no access (Unable to locate credentials)" in refusal("pull", f"{bucket}/x", got)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal("push", films, f"{bucket}/x")
    assert not got.exists()
